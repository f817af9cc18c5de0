"""What there is to do: photos listed, compared with the table, and cut into tasks."""
