"""Linear discriminant analysis: which label a photo's features are nearest to, and how far they are from it.

It is fitted to grouped moments alone. Labels are taken to share one covariance and to be equally frequent:
R. A. Fisher, "The use of multiple measurements in taxonomic problems", 1936; C. R. Rao, 1948.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from job.maths.grouped_moments import GroupedMoments, LabelSum

# Of canonical axes whose labels differ by less, the direction is noise.
MIN_SEPARATION: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Discriminant:
    """A fitted analysis of d features and c labels, in r canonical coordinates, at most ``c - 1``.

    Attributes
    ----------
    labels : tuple of str
        In alphabetical order.
    counts : array (c,) int64
        Photos of each label.
    axes : array (r, d) float64
        The first axis separates the labels best.
    mean : array (d,) float64
        Mean of all features, the origin of the coordinates.
    centroids : array (c, r) float64
        Means of the labels, in canonical coordinates.
    spread : array (r,) float64
        Variance of all photos along each axis, where that of one label's photos is 1.
    shrinkage : float
        Share of the covariance within labels that is replaced by its mean diagonal.
    """

    labels: tuple[str, ...]
    counts: NDArray[np.int64]
    axes: NDArray[np.float64]
    mean: NDArray[np.float64]
    centroids: NDArray[np.float64]
    spread: NDArray[np.float64]
    shrinkage: float

    def coordinates(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the canonical coordinates ``(n, r)`` of features ``(n, d)``."""
        centred: NDArray[np.float64] = rows - self.mean
        coordinates: NDArray[np.float64] = centred @ self.axes.T
        return coordinates

    def distances(self, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the squared Mahalanobis distances ``(n, c)`` of photos from the labels' means.

        `coordinates` ``(n, r)`` come from :meth:`coordinates`.
        """
        squares = (coordinates**2).sum(axis=1, keepdims=True)
        products = coordinates @ self.centroids.T
        distances: NDArray[np.float64] = squares - 2 * products + (self.centroids**2).sum(axis=1)
        return distances.clip(min=0.0)

    def background(self, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the squared distances ``(n,)`` of photos from the mean of all, by the spread of all.

        Subtracted from a label's distance, they make it relative: a photo that is unusual in a way that tells
        nothing of labels is no stranger. J. Ren et al., "A simple fix to Mahalanobis distance for improving
        near-OOD detection", 2021.
        """
        squares: NDArray[np.float64] = (coordinates**2 / self.spread).sum(axis=1)
        return squares


def label_sums(moments: GroupedMoments, splits: Collection[str]) -> dict[str, LabelSum]:
    """Return the sums of labels over some splits, in alphabetical order."""
    sums: dict[str, LabelSum] = {}
    for (split, label), added in sorted(moments.labels.items()):
        if split in splits:
            known = sums.get(label)
            sums[label] = LabelSum(known.n + added.n, known.total + added.total) if known else added
    return dict(sorted(sums.items()))


def fit(moments: GroupedMoments, splits: Collection[str], shrinkage: float) -> Discriminant | None:
    """Fit the analysis to the labelled photos of some splits.

    Parameters
    ----------
    shrinkage : float
        In (0, 1]: with fewer photos than features, the covariance within labels has no inverse without it.

    Returns
    -------
    Discriminant or None
        None with fewer than two labels, or if no label has two photos that differ.
    """
    sums = label_sums(moments, splits)
    total = moments.of(splits)
    counts = np.array([label.n for label in sums.values()], np.int64)
    freedom = total.n - len(sums)
    if len(sums) < 2 or freedom < 1:
        return None
    deviations = np.array([label.total / label.n - total.mean for label in sums.values()])
    within = (total.scatter - (deviations.T * counts) @ deviations) / freedom
    mean_variance = within.trace() / total.width
    if mean_variance <= 0:
        return None
    within *= 1 - shrinkage
    within[np.diag_indices(total.width)] += shrinkage * mean_variance
    # The eigenvectors of the small matrix ΔW⁻¹Δᵀ give those of W⁻¹B, with Δ the weighted deviations.
    weighted = deviations * np.sqrt(counts / total.n)[:, np.newaxis]
    whitened = np.linalg.solve(within, weighted.T)  # (d, c)
    separation, vectors = np.linalg.eigh(weighted @ whitened)
    is_axis = separation > max(MIN_SEPARATION, separation[-1] * np.finfo(np.float64).eps * total.n)
    order = np.flatnonzero(is_axis)[::-1]
    if not len(order):
        return None
    axes = (whitened @ (vectors[:, order] / np.sqrt(separation[order]))).T
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, np.newaxis]
    return Discriminant(
        labels=tuple(sums),
        counts=counts,
        axes=np.ascontiguousarray(axes),
        mean=total.mean,
        centroids=deviations @ axes.T,
        spread=1 + separation[order],
        shrinkage=shrinkage,
    )
