"""The commands on the output of earlier runs: erase, show, compact and predict."""
