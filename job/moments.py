"""Mergeable statistics of the features: count, mean and scatter matrix. Pure NumPy.

Parts computed anywhere, of any size, merge into what one pass over all rows would give, and a part can be
taken out again: T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for
computing sample variances", Stanford STAN-CS-79-773 (1979).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

# Of a feature's scatter, at least so much must be left, or a difference has fewer than ten digits.
LEAST_LEFT: Final = 1e-5
ROWS_PER_BLOCK: Final = 256  # of 1280 float64: 2.6 MB, large enough for BLAS-3 to run at full speed


@dataclass(frozen=True, slots=True)
class Moments:
    """The sufficient statistics of a covariance.

    Attributes
    ----------
    n : int
        Rows seen.
    mean : array (d,) float64
    scatter : array (d, d) float64
        Sum over rows of ``(x - mean)(x - mean)ᵀ``.
    """

    n: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def none(cls, width: int) -> Self:
        """Return the moments of no rows."""
        return cls(0, np.zeros(width), np.zeros((width, width)))

    @classmethod
    def of(cls, rows: NDArray[Any]) -> "Moments":
        """Return the moments of rows ``(n, d)``."""
        return accumulate([rows], rows.shape[1])

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

    def without(self, other: "Moments") -> "Moments | None":
        """Return the moments of the rows that are left when others are taken out: :meth:`merge`, undone.

        Returns
        -------
        Moments or None
            None if more than half of the rows go, or if what is left of a feature's scatter is so little of
            what it was that the difference has lost digits: then it has to be summed up anew.
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
        if np.any(scatter.diagonal() < LEAST_LEFT * self.scatter.diagonal()):
            return None
        return Moments(n, mean, scatter)


def accumulate(batches: Iterable[NDArray[Any]], width: int) -> Moments:
    """Return the moments of batches of rows ``(any, d)`` in float64, in constant memory.

    Rows are gathered into blocks that suit BLAS-3. The first block's mean is taken off all rows, and what is
    left of a block's own mean off its rows, so that a large common offset costs no digits; the correction
    for the mean so far, ``δδᵀ·nₐn_b/n``, rides along as one more row of the block.
    """
    whole = _Sums(width)
    for batch in batches:
        start = 0
        while start < len(batch):
            start += whole.fill(batch[start:])
    whole.close_block()
    return whole.moments()


class _Sums:
    """Running sums and the block that is being filled: three arrays, used over and over."""

    def __init__(self, width: int) -> None:
        self.n, self.filled = 0, 0
        self.scatter = np.zeros((width, width))
        self._origin, self._mean = np.zeros(width), np.zeros(width)  # the mean is counted from the origin
        self._product = np.empty((width, width))
        self._block = np.empty((ROWS_PER_BLOCK + 1, width))

    def moments(self) -> Moments:
        """Return the sums so far."""
        return Moments(self.n, self._origin + self._mean, self.scatter)

    def fill(self, rows: NDArray[Any]) -> int:
        """Take as many rows as the block has room for, and return how many that was."""
        taken = min(len(rows), ROWS_PER_BLOCK - self.filled)
        self._block[self.filled : self.filled + taken] = rows[:taken]
        self.filled += taken
        if self.filled == ROWS_PER_BLOCK:
            self.close_block()
        return taken

    def close_block(self) -> None:
        """Add the block to the sums."""
        if not self.filled:
            return
        rows, new = self._block[: self.filled], self.filled
        if not self.n:
            self._origin = rows.mean(axis=0)
        rows -= self._origin  # exact for rows near it; what is left has all its digits
        mean = rows.mean(axis=0)
        rows -= mean
        n = self.n + new
        delta = mean - self._mean
        self._block[new] = delta * np.sqrt(self.n * new / n)
        with_correction = self._block[: new + 1]
        np.matmul(with_correction.T, with_correction, out=self._product)  # AᵀA: NumPy calls BLAS syrk
        self.scatter += self._product
        self._mean += delta * (new / n)
        self.n, self.filled = n, 0
