"""Tools in place of eksctl and kubectl, which refuse what the real ones do and act on the emulator."""
