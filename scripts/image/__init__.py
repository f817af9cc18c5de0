"""The Docker image: run here, and pushed to ECR."""
