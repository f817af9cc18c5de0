"""A small S3 server on loopback, for tests and benchmarks."""
