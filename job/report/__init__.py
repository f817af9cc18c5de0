"""The report of an output: one page of charts and photos, for people."""
