"""The features that the classifier sees: square roots of shares, which tell fruit apart better than raw ones.

A photo's features are divided by their sum, and the square root is taken. The Euclidean distance of two
results is the Hellinger distance of the features: R. Arandjelović, A. Zisserman, "Three things everyone
should know to improve object retrieval", CVPR 2012.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def root_features(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return ``sqrt(x / sum(x))`` for features ``(n, d)``, which are at least 0; rows of zeros stay zeros."""
    sums = rows.sum(axis=1, keepdims=True, dtype=np.float64)
    roots = rows.astype(np.float32)
    roots /= np.where(sums > 0, sums, 1.0).astype(np.float32)
    np.sqrt(roots, out=roots)
    return roots
