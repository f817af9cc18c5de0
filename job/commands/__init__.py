"""The commands beside a run: erase, show and compact."""
