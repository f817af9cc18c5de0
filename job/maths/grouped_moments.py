"""Moments by split and label, from which the PCA and the classifier are fitted.

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
from job.maths.root_features import root_features

MOST_LABELS: Final = 1_000  # with 10 kB each for every split

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
        Moments by the name of a split, ``""`` for photos outside of splits.
    labels : mapping
        Sums by split and label.
    """

    width: int
    splits: Mapping[str, Moments] = field(default_factory=dict)
    labels: Mapping[LabelKey, LabelSum] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """The number of rows."""
        return sum(moments.n for moments in self.splits.values())

    def of(self, splits: Collection[str]) -> Moments:
        """Return the moments of all rows of some splits."""
        parts = [self.splits[split] for split in sorted(self.splits) if split in splits]
        empty = Moments(0, np.zeros(self.width), np.zeros((self.width, self.width)))
        return reduce(Moments.merge, parts, empty)

    @property
    def total(self) -> Moments:
        """The moments of all rows."""
        return self.of(self.splits)

    def merge(self, other: "GroupedMoments") -> "GroupedMoments":
        """Return the moments and sums of both sets of rows."""
        splits, labels = dict(self.splits), dict(self.labels)
        for split, moments in other.splits.items():
            splits[split] = splits[split].merge(moments) if split in splits else moments
        for key, added in other.labels.items():
            known = labels.get(key)
            labels[key] = LabelSum(known.n + added.n, known.total + added.total) if known else added
        return GroupedMoments(self.width, splits, labels)

    def without(self, other: "GroupedMoments") -> "GroupedMoments":
        """Return the moments and sums of the rows that remain when others are removed.

        As :meth:`Moments.without`, it loses digits if little remains.
        """
        splits, labels = dict(self.splits), dict(self.labels)
        for split, moments in other.splits.items():
            all_rows = splits.pop(split)
            if all_rows.n > moments.n:
                splits[split] = all_rows.without(moments)
        for key, removed in other.labels.items():
            known = labels.pop(key)
            if known.n > removed.n:
                labels[key] = LabelSum(known.n - removed.n, known.total - removed.total)
        return GroupedMoments(self.width, splits, labels)

    def subtract(self, other: "GroupedMoments") -> "GroupedMoments | None":
        """Return the same as :meth:`without`; None if digits are lost, as for :meth:`Moments.subtract`."""
        for split, moments in other.splits.items():
            all_rows = self.splits[split]
            if all_rows.n > moments.n and all_rows.subtract(moments) is None:
                return None
        return self.without(other)


@dataclass(frozen=True, slots=True)
class TableMoments:
    """The moments of a table.

    Attributes
    ----------
    features : GroupedMoments
        Of the features, by split, for the PCA; without sums of labels.
    roots : GroupedMoments or None
        Of the root features of labelled photos, by split and label, for the classifier. None with more than
        1,000 labels, which are hardly the names of fruit, until all moments are computed again.
    """

    features: GroupedMoments
    roots: GroupedMoments | None

    def merge(self, other: "TableMoments") -> "TableMoments":
        """Return the moments of both sets of rows."""
        roots = self.roots.merge(other.roots) if self.roots and other.roots else None
        return TableMoments(self.features.merge(other.features), _if_few_labels(roots))

    def subtract(self, other: "TableMoments") -> "TableMoments | None":
        """Return the moments of the rows that remain; None as for :meth:`GroupedMoments.subtract`."""
        features = self.features.subtract(other.features)
        if not self.roots or not other.roots or features is None:
            return TableMoments(features, None) if features else None
        roots = self.roots.subtract(other.roots)
        return TableMoments(features, roots) if roots else None


class GroupedAccumulator:
    """Sums up grouped moments of rows ``(any, d)``, batch by batch."""

    def __init__(self, width: int) -> None:
        self._width = width
        product = np.empty((width, width))
        self._splits: defaultdict[str, Accumulator] = defaultdict(lambda: Accumulator(width, product))
        self._labels: dict[LabelKey, LabelSum] = {}

    @property
    def label_count(self) -> int:
        """The number of different labels so far."""
        return len({label for _, label in self._labels})

    def add(self, rows: NDArray[Any], splits: Sequence[str], labels: Sequence[str] | None = None) -> None:
        """Add a batch of rows, with the split of each, and with its label if sums of labels are wanted."""
        numbers_by_key: defaultdict[LabelKey, list[int]] = defaultdict(list)
        for number, key in enumerate(zip(splits, labels or splits, strict=True)):
            numbers_by_key[key].append(number)
        for key, numbers in numbers_by_key.items():
            group = rows if len(numbers) == len(rows) else rows[numbers]
            self._splits[key[0]].add(group)
            if labels is not None:
                known = self._labels.get(key, LabelSum(0, np.zeros(self._width)))
                total = known.total + group.sum(axis=0, dtype=np.float64)
                self._labels[key] = LabelSum(known.n + len(group), total)

    def moments(self) -> GroupedMoments:
        """Return the moments and sums of all rows added so far."""
        splits = {split: part.moments() for split, part in sorted(self._splits.items())}
        return GroupedMoments(self._width, splits, dict(self._labels))


class TableAccumulator:
    """Sums up the moments of a table's features ``(any, d)``, batch by batch."""

    def __init__(self, width: int) -> None:
        self._features, self._roots = GroupedAccumulator(width), GroupedAccumulator(width)

    def add(self, rows: NDArray[Any], splits: Sequence[str | None], labels: Sequence[str | None]) -> None:
        """Add a batch of rows, with the split and the label of each."""
        names = [split or "" for split in splits]
        self._features.add(rows, names)
        numbers = [number for number, label in enumerate(labels) if label]
        if numbers and self._roots.label_count <= MOST_LABELS:
            roots = root_features(rows if len(numbers) == len(rows) else rows[numbers])
            own_labels = [label for label in labels if label]
            self._roots.add(roots, [names[number] for number in numbers], own_labels)

    def moments(self) -> TableMoments:
        """Return the moments of all rows added so far."""
        return TableMoments(self._features.moments(), _if_few_labels(self._roots.moments()))


def _if_few_labels(roots: GroupedMoments | None) -> GroupedMoments | None:
    return roots if roots and len({label for _, label in roots.labels}) <= MOST_LABELS else None
