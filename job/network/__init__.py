"""MobileNetV2: its verified weights, and the converted network that workers run."""
