"""Mergeable statistics of the features: count, mean and scatter matrix. Pure NumPy.

Parts computed anywhere, of any size, merge into what one pass over all rows would give, and a part can be
taken out again: T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for
computing sample variances", Stanford STAN-CS-79-773 (1979).
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

ROWS_PER_BLOCK = 2048  # of 1280 float64: 21 MB, large enough for BLAS-3 to run at full speed


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
    def of(cls, rows: NDArray[Any]) -> Self:
        """Return the moments of a block of rows ``(n, d)``, by one matrix product in float64.

        The block's own mean is taken off first, so that a large common offset costs no digits.
        """
        block = rows.astype(np.float64)
        if not len(block):
            return cls.none(rows.shape[1])
        # The mean of an offset block is itself rounded; its remainder is exact enough to mend it.
        mean = block.mean(axis=0)
        block -= mean
        rest = block.mean(axis=0)
        block -= rest
        return cls(len(block), mean + rest, block.T @ block)  # NumPy sees AᵀA and calls BLAS syrk

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

    def to_bytes(self) -> bytes:
        """Return what :meth:`from_bytes` reads."""
        sink = io.BytesIO()
        np.savez(sink, n=np.int64(self.n), mean=self.mean, scatter=self.scatter)
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what :meth:`to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(int(arrays["n"]), arrays["mean"], arrays["scatter"])


def merge_all(parts: Iterable[Moments], width: int) -> Moments:
    """Merge any number of parts, in the order given."""
    whole = Moments.none(width)
    for part in parts:
        whole = whole.merge(part)
    return whole


def accumulate(batches: Iterable[NDArray[Any]], width: int) -> Moments:
    """Return the moments of batches of rows ``(any, d)``, gathered into blocks that suit BLAS-3."""
    whole = Moments.none(width)
    waiting: list[NDArray[Any]] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += len(batch)
        if rows >= ROWS_PER_BLOCK:
            whole = whole.merge(Moments.of(np.concatenate(waiting)))
            waiting, rows = [], 0
    return whole.merge(Moments.of(np.concatenate(waiting))) if rows else whole
