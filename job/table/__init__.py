"""The Delta table of photos, and what lies beside it in an output."""
