"""MobileNetV2: its weights, and the program that workers run."""
