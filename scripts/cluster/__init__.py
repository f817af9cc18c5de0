"""cluster.sh: creates, shows and removes a stage on AWS."""
