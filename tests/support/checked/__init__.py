"""What every Python of a test does with its AWS requests."""
