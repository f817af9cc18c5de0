"""The PCA model of an output: moments, the fit, the saved model and the reduced matrix."""
