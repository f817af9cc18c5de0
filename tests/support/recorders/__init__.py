"""Stand-ins for eksctl and kubectl, which refuse what the real ones refuse and act on the emulator."""
