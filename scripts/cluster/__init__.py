"""cluster.sh: a stage on AWS, made, shown and removed."""
