"""A local Kubernetes for people and for tests, and the job on it or on any other Kubernetes."""
