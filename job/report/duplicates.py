"""Finds photos that are nearly the same: exact copies, and the closest pairs.

Within a label, frames of one object are close, as they should be. A photo of Test that is nearly one of
Training is a leak, and nearly the same photo under two labels may be an error of labelling.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from job.report.photos import Photos

NEAR: Final = 0.95  # a similarity that two pictures of one object reach when it has turned by a little
LEAST_COMPONENTS: Final = 10  # with one, the cosine is 1 or -1; with few, many photos point the same way
PAIRS_SHOWN: Final = 8
ROWS_PER_BLOCK: Final = 500  # 100 MB at a time for 20,000 photos

Kind = str
KINDS: Final[tuple[Kind, ...]] = ("between_splits", "between_labels", "within")


@dataclass(frozen=True, slots=True)
class Copies:
    """Numbers of photos with the same bytes as another, of their groups, and of groups across a border."""

    photos: int
    groups: int
    across_splits: int
    across_labels: int


@dataclass(frozen=True, slots=True)
class Pairs:
    """The closest pairs of a kind: positions of two photos and their similarity.

    `near` counts the photos with a partner of similarity `NEAR` or more.
    """

    pairs: list[tuple[int, int, float]]
    near: int


def find_copies(photos: Photos) -> Copies:
    """Count the photos whose content is the same, by SHA-256."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for number, digest in enumerate(photos.sha256):
        groups[digest].append(number)
    copies = [numbers for digest, numbers in groups.items() if digest and len(numbers) > 1]
    across = [
        sum(len({names[number] for number in numbers}) > 1 for numbers in copies)
        for names in (photos.splits, photos.labels)
    ]
    return Copies(sum(map(len, copies)), len(copies), *across)


def find_pairs(photos: Photos) -> dict[Kind, Pairs]:
    """Return the closest pairs of each kind, by the cosine of their principal components.

    It compares all pairs, block by block: 2 n² s operations for n photos of s components.
    """
    lengths = np.linalg.norm(photos.scores, axis=1, keepdims=True)
    units = photos.scores / np.where(lengths > 0, lengths, 1)
    labels, splits = (np.unique(names, return_inverse=True)[1] for names in (photos.labels, photos.splits))
    nearest = {kind: np.zeros(len(photos), np.int64) for kind in KINDS}
    similarity = {kind: np.full(len(photos), -1.0, np.float32) for kind in KINDS}
    for start in range(0, len(photos), ROWS_PER_BLOCK):
        rows = np.arange(start, min(start + ROWS_PER_BLOCK, len(photos)))
        cosines = units[rows] @ units.T
        cosines[np.arange(len(rows)), rows] = -1
        other_split = splits[rows, np.newaxis] != splits
        other_label = labels[rows, np.newaxis] != labels
        for kind, mask in zip(KINDS, (other_split, other_label, ~(other_split | other_label)), strict=True):
            allowed = np.where(mask, cosines, np.float32(-1))
            nearest[kind][rows] = allowed.argmax(axis=1)
            similarity[kind][rows] = allowed[np.arange(len(rows)), nearest[kind][rows]]
    return {kind: _closest(nearest[kind], similarity[kind]) for kind in KINDS}


def _closest(nearest: NDArray[np.int64], similarity: NDArray[np.float32]) -> Pairs:
    """Return the closest pairs, no photo in more than one of them."""
    pairs: list[tuple[int, int, float]] = []
    used: set[int] = set()
    for number in np.argsort(-similarity, kind="stable"):
        first, second = sorted((int(number), int(nearest[number])))
        if len(pairs) == PAIRS_SHOWN or similarity[number] <= 0:
            break
        if not used & {first, second}:
            pairs.append((first, second, round(float(similarity[number]), 4)))
            used |= {first, second}
    return Pairs(pairs, int((similarity >= NEAR).sum()))
