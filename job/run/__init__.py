"""A run: the order of its steps, what it checks, and its record."""
