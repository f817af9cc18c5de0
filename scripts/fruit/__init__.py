"""Drawn photos of fruit."""
