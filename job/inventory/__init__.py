"""The inventory: list photos, compare them with the table, and divide the rest into tasks."""
