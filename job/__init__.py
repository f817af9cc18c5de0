"""Fruits!: photos of fruit in, MobileNetV2 features and a PCA matrix out, in one PySpark job."""

__version__ = "0.1.0"
