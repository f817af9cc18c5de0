"""The check of AWS requests that every Python process of a test makes."""
