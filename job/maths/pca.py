"""Fits principal components to moments, chooses how many to keep, and projects rows on them.

It stands between the moments and ``saved_model``, which writes the fitted model.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.errors import DataError, UsageError
from job.maths.moments import Moments


@dataclass(frozen=True, slots=True)
class Pca:
    """A fitted PCA of d features with k components.

    Attributes
    ----------
    mean, std : arrays (d,) float64
        Mean and standard deviation of the features, with divisor n - 1.
    standardized : bool
        Whether features are divided by `std` before projection.
    components : array (k, d) float64
        Orthonormal rows; the largest loading of each is positive.
    explained_variance, explained_variance_ratio : arrays (k,) float64
        Eigenvalues of the covariance (of the correlation, if standardized), largest first, and their
        share of the sum of all.
    n, rank : int
        The number of rows fitted, and of eigenvalues that are not zero.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    standardized: bool
    components: NDArray[np.float64]
    explained_variance: NDArray[np.float64]
    explained_variance_ratio: NDArray[np.float64]
    n: int
    rank: int

    @property
    def k(self) -> int:
        """The number of components kept."""
        return len(self.components)

    @property
    def scale(self) -> NDArray[np.float64]:
        """The divisor of each centred feature ``(d,)``: 1 for a constant one, or if not standardized."""
        return np.where(self.standardized & (self.std > 0), self.std, 1.0)

    @property
    def model_id(self) -> str:
        """A name made of a hash of the arrays: the same fit has the same name."""
        digest = hashlib.sha256()
        for array in (self.mean, self.scale, self.components):
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return f"pca-{self.k}-{digest.hexdigest()[:12]}"

    def project(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Project rows ``(n, d)`` on the components, in float64: ``(n, k)`` float32."""
        centred = (rows.astype(np.float64) - self.mean) / self.scale
        return (centred @ self.components.T).astype(np.float32)


def fit(moments: Moments, components: int | None, variance: float, standardize: bool) -> Pca:
    """Return the principal components of the rows that the moments summarise.

    Parameters
    ----------
    components : int or None
        How many to keep; None to choose by `variance`.
    variance : float
        Smallest share of the variance that the kept components explain together, in (0, 1].
    standardize : bool
        Give every feature unit variance first; a constant one stays zero.

    Raises
    ------
    UsageError
        If `components` is more than the rank.
    DataError
        If there are fewer than two rows, or all rows are equal.
    """
    if moments.n < 2:
        raise DataError(f"PCA needs at least 2 photos, and {moments.n} has features")
    covariance = moments.scatter / (moments.n - 1)
    # Rounding errors give a constant feature a variance of at most n·(ε·mean)².
    noise = moments.n * (np.finfo(np.float64).eps * moments.mean) ** 2
    std = np.sqrt(np.where(covariance.diagonal() > noise, covariance.diagonal(), 0.0))
    if standardize:
        inverse = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
        covariance = covariance * inverse * inverse[:, np.newaxis]
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1].clip(min=0.0), vectors[:, ::-1]
    # The tolerance of numpy.linalg.matrix_rank.
    tolerance = values[0] * max(moments.n, len(values)) * np.finfo(np.float64).eps
    rank = int(min((values > tolerance).sum(), moments.n - 1))
    if not rank:
        raise DataError("the photos' features do not differ: there is no variance to explain")
    ratio = values / values.sum()
    if components is None:
        sufficient = np.flatnonzero(np.cumsum(ratio) >= variance * (1 - 1e-12))
        k = min(int(sufficient[0]) + 1 if sufficient.size else rank, rank)
    elif components > rank:
        raise UsageError(f"--components {components} is more than the rank of the features, which is {rank}")
    else:
        k = components
    return Pca(
        mean=moments.mean,
        std=std,
        standardized=standardize,
        components=_with_positive_loadings(vectors[:, :k].T),
        explained_variance=values[:k].copy(),
        explained_variance_ratio=ratio[:k].copy(),
        n=moments.n,
        rank=rank,
    )


def _with_positive_loadings(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make the largest loading of each row positive, since the sign of an eigenvector is arbitrary."""
    largest = np.abs(rows).argmax(axis=1)
    signs = np.sign(rows[np.arange(len(rows)), largest])
    return np.ascontiguousarray(rows * signs[:, np.newaxis])
