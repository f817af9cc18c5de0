"""The commands on the output of earlier runs: erase, show and compact."""
