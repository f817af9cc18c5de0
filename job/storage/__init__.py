"""Files and objects: reading, writing and listing folders and S3."""
