"""Moments and PCA in NumPy; nothing here knows files or Spark."""
