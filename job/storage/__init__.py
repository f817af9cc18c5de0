"""Bytes in folders and in S3; nothing here knows the table."""
