"""Mergeable statistics of the features, from which ``pca`` is fitted: count, mean and scatter matrix.

Moments of parts, of any size, merge into those of all rows, and a part can be subtracted again: T. F. Chan,
G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
Stanford STAN-CS-79-773 (1979).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# The share of a feature's scatter that a subtraction must leave; with less, fewer than ten digits remain.
MIN_REMAINING_SCATTER: Final = 1e-5
ROWS_PER_BLOCK: Final = 256  # of 1280 float64: 2.6 MB, large enough for BLAS-3 to run at full speed


@dataclass(frozen=True, slots=True)
class Moments:
    """The sufficient statistics of a covariance.

    Attributes
    ----------
    n : int
        Number of rows.
    mean : array (d,) float64
    scatter : array (d, d) float64
        Sum over rows of ``(x - mean)(x - mean)ᵀ``.
    """

    n: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of rows: ``M = Mₐ + M_b + δδᵀ·nₐn_b/n``, ``δ = mean_b - meanₐ``."""
        if not self.n or not other.n:
            return other if not self.n else self
        n = self.n + other.n
        delta = other.mean - self.mean
        scatter = np.outer(delta, delta * (self.n * other.n / n))
        scatter += self.scatter
        scatter += other.scatter
        return Moments(n, self.mean + delta * (other.n / n), scatter)

    def subtract(self, other: "Moments") -> "Moments | None":
        """Return the moments of the rows that remain when others are removed, the inverse of :meth:`merge`.

        Returns
        -------
        Moments or None
            None if more than half of the rows are removed, or if so little of a feature's scatter remains
            that the difference has lost digits: then the moments have to be computed again.
        """
        if not other.n:
            return self
        n = self.n - other.n
        if n < other.n:
            return None
        mean = self.mean + (self.mean - other.mean) * (other.n / n)
        delta = other.mean - mean
        scatter = self.scatter - other.scatter
        scatter -= np.outer(delta, delta * (n * other.n / self.n))
        if np.any(scatter.diagonal() < MIN_REMAINING_SCATTER * self.scatter.diagonal()):
            return None
        return Moments(n, mean, scatter)


def accumulate(batches: Iterable[NDArray[Any]], width: int) -> Moments:
    """Return the moments of batches of rows ``(any, d)`` in float64, in constant memory.

    The first block's mean is subtracted from all rows, then each block's remaining mean from its rows, so
    that a large common offset costs no digits. The correction for the mean so far, ``δδᵀ·nₐn_b/n``, is one
    more row of the block.
    """
    n = 0
    origin, mean = np.zeros(width), np.zeros(width)  # the mean is relative to the origin
    scatter, product = np.zeros((width, width)), np.empty((width, width))
    for block in _blocks(batches, width):
        rows, count = block[:-1], len(block) - 1
        if not n:
            origin = rows.mean(axis=0)
        rows -= origin  # exact for rows near it, so no digits are lost
        rows_mean = rows.mean(axis=0)
        rows -= rows_mean
        delta = rows_mean - mean
        block[-1] = delta * np.sqrt(n * count / (n + count))
        np.matmul(block.T, block, out=product)  # AᵀA: NumPy calls BLAS syrk
        scatter += product
        n += count
        mean += delta * (count / n)
    return Moments(n, origin + mean, scatter)


def _blocks(batches: Iterable[NDArray[Any]], width: int) -> Iterator[NDArray[np.float64]]:
    """Yield rows in blocks that suit BLAS-3, each with one unused row at its end, all in the same memory."""
    block, filled = np.empty((ROWS_PER_BLOCK + 1, width)), 0
    for batch in batches:
        rest = batch
        while len(rest):
            rows = rest[: ROWS_PER_BLOCK - filled]
            block[filled : filled + len(rows)] = rows
            rest, filled = rest[len(rows) :], filled + len(rows)
            if filled == ROWS_PER_BLOCK:
                yield block
                filled = 0
    if filled:
        yield block[: filled + 1]
