"""The benchmark of the job."""
