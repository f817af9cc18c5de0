"""submit.sh: runs on EMR on EKS."""
