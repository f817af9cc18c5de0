"""The report: one HTML page of an output, for people, which opens without a network."""
