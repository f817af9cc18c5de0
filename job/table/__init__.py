"""The Delta table of photos, and the other files of an output."""
