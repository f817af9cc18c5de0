"""Moments and PCA, in NumPy alone."""
