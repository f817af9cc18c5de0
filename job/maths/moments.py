"""Mergeable statistics of the features, from which ``pca`` is fitted: count, mean and scatter matrix.

Moments of parts, of any size, merge into those of all rows, and a part can be subtracted again: T. F. Chan,
G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
Stanford STAN-CS-79-773 (1979).
"""

from collections.abc import Iterable
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

    @property
    def width(self) -> int:
        """The number of features, d."""
        return len(self.mean)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle half of the symmetric scatter, since Spark bounds what workers may send."""
        return from_half, (self.n, self.mean, self.half())

    def half(self) -> NDArray[np.float64]:
        """Return the lower half of the scatter, row by row."""
        lower: NDArray[np.float64] = self.scatter[np.tril_indices(self.width)]
        return lower

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

    def without(self, other: "Moments") -> "Moments":
        """Return the moments of the rows that remain when others are removed, the inverse of :meth:`merge`.

        The less scatter remains, the more digits are lost. At least one row must remain.
        """
        n = self.n - other.n
        mean = self.mean + (self.mean - other.mean) * (other.n / n)
        delta = other.mean - mean
        scatter = self.scatter - other.scatter
        scatter -= np.outer(delta, delta * (n * other.n / self.n))
        return Moments(n, mean, scatter)

    def subtract(self, other: "Moments") -> "Moments | None":
        """Return the moments of the rows that remain when others are removed.

        Returns
        -------
        Moments or None
            None if more than half of the rows are removed, or if so little of a feature's scatter remains
            that the difference has lost digits: then the moments have to be computed again.
        """
        if not other.n:
            return self
        if self.n - other.n < other.n:
            return None
        remaining = self.without(other)
        if np.any(remaining.scatter.diagonal() < MIN_REMAINING_SCATTER * self.scatter.diagonal()):
            return None
        return remaining


def from_half(n: int, mean: NDArray[np.float64], half: NDArray[np.float64]) -> Moments:
    """Return moments from the lower half of their scatter, see :meth:`Moments.half`."""
    lower = np.zeros((len(mean), len(mean)))
    lower[np.tril_indices(len(mean))] = half
    return Moments(n, mean, lower + np.tril(lower, -1).T)


class Accumulator:
    """Sums up the moments of rows ``(any, d)`` in float64, batch by batch, in constant memory.

    The first block's mean is subtracted from all rows, then each block's remaining mean from its rows, so
    that a large common offset costs no digits. The correction for the mean so far, ``δδᵀ·nₐn_b/n``, is one
    more row of the block.
    """

    def __init__(self, width: int, product: NDArray[np.float64] | None = None) -> None:
        self._n, self._filled = 0, 0
        self._origin, self._mean = np.zeros(width), np.zeros(width)  # the mean is relative to the origin
        self._scatter = np.zeros((width, width))
        # Memory ``(d, d)`` for a block's product; accumulators that take turns may share it.
        self._product = np.empty((width, width)) if product is None else product
        # Blocks suit BLAS-3; the last row is free for the correction.
        self._block = np.empty((ROWS_PER_BLOCK + 1, width))

    def add(self, batch: NDArray[Any]) -> None:
        """Add a batch of rows."""
        rest = batch
        while len(rest):
            rows = rest[: ROWS_PER_BLOCK - self._filled]
            self._block[self._filled : self._filled + len(rows)] = rows
            rest, self._filled = rest[len(rows) :], self._filled + len(rows)
            if self._filled == ROWS_PER_BLOCK:
                self._add_block()

    def moments(self) -> Moments:
        """Return the moments of all rows added so far."""
        self._add_block()
        return Moments(self._n, self._origin + self._mean, self._scatter.copy())

    def _add_block(self) -> None:
        count, self._filled = self._filled, 0
        if not count:
            return
        block = self._block[: count + 1]
        rows = block[:-1]
        if not self._n:
            self._origin = rows.mean(axis=0)
        rows -= self._origin  # exact for rows near it, so no digits are lost
        rows_mean = rows.mean(axis=0)
        rows -= rows_mean
        delta = rows_mean - self._mean
        block[-1] = delta * np.sqrt(self._n * count / (self._n + count))
        np.matmul(block.T, block, out=self._product)  # AᵀA: NumPy calls BLAS syrk
        self._scatter += self._product
        self._n += count
        self._mean += delta * (count / self._n)


def accumulate(batches: Iterable[NDArray[Any]], width: int) -> Moments:
    """Return the moments of batches of rows ``(any, d)``."""
    accumulator = Accumulator(width)
    for batch in batches:
        accumulator.add(batch)
    return accumulator.moments()
