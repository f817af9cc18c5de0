"""Moments by split, and sums by split and label, from which the PCA and the classifier are fitted.

As :mod:`job.maths.moments`, they merge exactly and can be subtracted. The scatter of a split is kept once;
the scatter within its labels follows from it and from the labels' sums.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from job.maths.moments import Accumulator, Moments

MOST_LABELS: Final = 2_000  # pairs of split and label, of 10 kB each
UNLABELLED: Final = "unlabelled"  # in the place of a split: photos without a label

LabelKey = tuple[str, str]
"""A split, ``""`` for none, and a label."""


@dataclass(frozen=True, slots=True)
class LabelSum:
    """The number of a label's rows, and the sum of their features ``(d,)`` float64."""

    n: int
    total: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GroupedMoments:
    """Moments by split, and sums by split and label.

    Attributes
    ----------
    width : int
        Number of features, d.
    splits : mapping
        Moments by the name of a split: ``""`` for photos outside of splits, ``"unlabelled"`` for photos
        without a label.
    labels : mapping or None
        Sums by split and label; None if there were ever more than 2,000 of these pairs, because then a
        label is hardly the name of a fruit.
    """

    width: int
    splits: Mapping[str, Moments] = field(default_factory=dict)
    labels: Mapping[LabelKey, LabelSum] | None = field(default_factory=dict)

    @property
    def n(self) -> int:
        """The number of rows."""
        return sum(moments.n for moments in self.splits.values())

    def of(self, splits: Collection[str]) -> Moments:
        """Return the moments of all rows of some splits."""
        parts = [self.splits[split] for split in sorted(self.splits) if split in splits]
        empty = Moments(0, np.zeros(self.width), np.zeros((self.width, self.width)))
        return reduce(Moments.merge, parts, empty)

    def all(self) -> Moments:
        """Return the moments of all rows."""
        return self.of(self.splits)

    def merge(self, other: "GroupedMoments") -> "GroupedMoments":
        """Return the moments and sums of both sets of rows."""
        splits = dict(self.splits)
        for split, moments in other.splits.items():
            splits[split] = splits[split].merge(moments) if split in splits else moments
        if self.labels is None or other.labels is None:
            return GroupedMoments(self.width, splits, None)
        labels = dict(self.labels)
        for key, added in other.labels.items():
            known = labels.get(key)
            labels[key] = LabelSum(known.n + added.n, known.total + added.total) if known else added
        return GroupedMoments(self.width, splits, labels if len(labels) <= MOST_LABELS else None)

    def subtract(self, other: "GroupedMoments") -> "GroupedMoments | None":
        """Return the moments and sums of the rows that remain when others are removed.

        Returns
        -------
        GroupedMoments or None
            None as for :meth:`Moments.subtract`: then they have to be computed again.
        """
        splits = dict(self.splits)
        for split, moments in other.splits.items():
            remaining = splits[split].subtract(moments) if splits[split].n > moments.n else None
            if remaining is not None:
                splits[split] = remaining
            elif splits[split].n == moments.n:
                del splits[split]
            else:
                return None
        if self.labels is None or other.labels is None:
            return GroupedMoments(self.width, splits, None)
        labels = dict(self.labels)
        for key, removed in other.labels.items():
            known = labels.pop(key)
            if known.n > removed.n:
                labels[key] = LabelSum(known.n - removed.n, known.total - removed.total)
        return GroupedMoments(self.width, splits, labels)


class GroupedAccumulator:
    """Sums up grouped moments of rows ``(any, d)``, batch by batch."""

    def __init__(self, width: int) -> None:
        self._width = width
        product = np.empty((width, width))
        self._splits: defaultdict[str, Accumulator] = defaultdict(lambda: Accumulator(width, product))
        self._labels: dict[LabelKey, LabelSum] | None = {}

    def add(self, rows: NDArray[Any], splits: Sequence[str | None], labels: Sequence[str | None]) -> None:
        """Add a batch of rows, with the split and the label of each."""
        numbers_by_key: defaultdict[LabelKey, list[int]] = defaultdict(list)
        for number, (split, label) in enumerate(zip(splits, labels, strict=True)):
            numbers_by_key[(split or "", label) if label else (UNLABELLED, "")].append(number)
        for (split, label), numbers in numbers_by_key.items():
            group = rows if len(numbers) == len(rows) else rows[numbers]
            self._splits[split].add(group)
            if label and self._labels is not None:
                known = self._labels.get((split, label))
                total = group.sum(axis=0, dtype=np.float64)
                self._labels[split, label] = LabelSum(
                    len(group) + (known.n if known else 0), total + (known.total if known else 0.0)
                )
                if len(self._labels) > MOST_LABELS:
                    self._labels = None

    def moments(self) -> GroupedMoments:
        """Return the moments and sums of all rows added so far."""
        splits = {split: accumulator.moments() for split, accumulator in sorted(self._splits.items())}
        return GroupedMoments(self._width, splits, self._labels)
