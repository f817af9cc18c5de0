"""Mergeable statistics of the features: count, mean and scatter matrix. Pure NumPy.

Parts computed anywhere, of any size, merge into what one pass over all rows would give, and a part can be
taken out again: T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for
computing sample variances", Stanford STAN-CS-79-773 (1979).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

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

    The first block's mean is taken off all rows, and what is left of a block's own mean off its rows, so that
    a large common offset costs no digits; the correction for the mean so far, ``δδᵀ·nₐn_b/n``, rides along as
    one more row of the block.
    """
    n = 0
    origin, mean = np.zeros(width), np.zeros(width)  # the mean is counted from the origin
    scatter, product = np.zeros((width, width)), np.empty((width, width))
    for block in _blocks(batches, width):
        rows, new = block[:-1], len(block) - 1
        if not n:
            origin = rows.mean(axis=0)
        rows -= origin  # exact for rows near it; what is left has all its digits
        rows_mean = rows.mean(axis=0)
        rows -= rows_mean
        delta = rows_mean - mean
        block[-1] = delta * np.sqrt(n * new / (n + new))
        np.matmul(block.T, block, out=product)  # AᵀA: NumPy calls BLAS syrk
        scatter += product
        n += new
        mean += delta * (new / n)
    return Moments(n, origin + mean, scatter)


def _blocks(batches: Iterable[NDArray[Any]], width: int) -> Iterator[NDArray[np.float64]]:
    """Gather rows into blocks that suit BLAS-3, of one row more, which is free; all in the same memory."""
    block, filled = np.empty((ROWS_PER_BLOCK + 1, width)), 0
    for batch in batches:
        left = batch
        while len(left):
            taken = left[: ROWS_PER_BLOCK - filled]
            block[filled : filled + len(taken)] = taken
            left, filled = left[len(taken) :], filled + len(taken)
            if filled == ROWS_PER_BLOCK:
                yield block
                filled = 0
    if filled:
        yield block[: filled + 1]
