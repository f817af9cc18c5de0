"""Grouped moments: those of each split and label, merged and subtracted exactly."""

from functools import reduce

import numpy as np
import pytest
from numpy.typing import NDArray

from job.maths import grouped_moments
from job.maths.grouped_moments import GroupedAccumulator, GroupedMoments, TableAccumulator, TableMoments
from job.maths.root_features import root_features
from tests.support.outputs import assert_same_moments

WIDTH = 6
LABELS = ("Apple Red 1", "Apple Red 2", "Kiwi")


def rows_of(count: int, seed: int = 0) -> tuple[NDArray[np.float32], list[str | None], list[str | None]]:
    """Return features ``(count, 6)``, splits and labels; some photos have neither."""
    rng = np.random.default_rng(seed)
    splits = [[None, "Training", "Test"][number] for number in rng.integers(0, 3, count)]
    labels = [[*LABELS, None][number] for number in rng.integers(0, 4, count)]
    return rng.random((count, WIDTH), np.float32), splits, labels


def table_moments(
    rows: NDArray[np.float32], splits: list[str | None], labels: list[str | None], batch: int = 100
) -> TableMoments:
    accumulator = TableAccumulator(WIDTH)
    for start in range(0, len(rows), batch):
        part = slice(start, start + batch)
        accumulator.add(rows[part], splits[part], labels[part])
    return accumulator.moments()


def test_moments_are_those_of_each_split_and_sums_those_of_each_label() -> None:
    rows, splits, labels = rows_of(700)
    moments = table_moments(rows, splits, labels)
    assert moments.roots is not None
    assert sorted(moments.features.splits) == ["", "Test", "Training"]
    is_training = np.array([split == "Training" for split in splits])
    own = rows[is_training].astype(np.float64)
    of_training = moments.features.splits["Training"]
    assert of_training.n == is_training.sum()
    np.testing.assert_allclose(of_training.mean, own.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(of_training.scatter / (len(own) - 1), np.cov(own.T), rtol=1e-9, atol=1e-12)
    is_kiwi = np.array([pair == ("Training", "Kiwi") for pair in zip(splits, labels, strict=True)])
    kiwi = moments.roots.labels["Training", "Kiwi"]
    assert kiwi.n == is_kiwi.sum()
    np.testing.assert_allclose(kiwi.total, root_features(rows[is_kiwi]).sum(axis=0), rtol=1e-5)
    labelled = sum(label is not None for label in labels)
    assert (moments.features.n, moments.roots.n) == (700, labelled)
    total = moments.features.total
    np.testing.assert_allclose(total.scatter, np.cov(rows.T.astype(np.float64)) * 699, rtol=1e-9, atol=1e-9)


def test_ten_parts_merge_into_the_moments_of_all() -> None:
    rows, splits, labels = rows_of(500)
    parts = [
        table_moments(rows[start : start + 50], splits[start : start + 50], labels[start : start + 50])
        for start in range(0, 500, 50)
    ]
    assert_same_moments(reduce(TableMoments.merge, parts), table_moments(rows, splits, labels))


def test_a_part_is_subtracted_exactly() -> None:
    rows, splits, labels = rows_of(400)
    removed = table_moments(rows[:60], splits[:60], labels[:60])
    remaining = table_moments(rows, splits, labels).subtract(removed)
    assert remaining is not None
    assert_same_moments(remaining, table_moments(rows[60:], splits[60:], labels[60:]))


def test_a_split_and_a_label_without_rows_disappear() -> None:
    rows, splits, labels = rows_of(400)
    is_gone = [split == "Test" or label == "Kiwi" for split, label in zip(splits, labels, strict=True)]
    gone = [number for number, removed in enumerate(is_gone) if removed]
    kept = [number for number, removed in enumerate(is_gone) if not removed]

    def part(numbers: list[int]) -> TableMoments:
        return table_moments(rows[numbers], [splits[n] for n in numbers], [labels[n] for n in numbers])

    moments = part(gone).merge(part(kept))
    assert moments.features.without(part(gone).features).splits.keys() == {"", "Training"}
    assert moments.roots is not None
    roots = part(gone).roots
    assert roots is not None
    remaining = moments.roots.without(roots)
    assert {label for _, label in remaining.labels} == {"Apple Red 1", "Apple Red 2"}
    assert {split for split, _ in remaining.labels} == {"", "Training"}


def test_a_subtraction_that_would_lose_digits_is_refused() -> None:
    rows, splits, labels = rows_of(40)
    most = table_moments(rows[:30], splits[:30], labels[:30])
    assert table_moments(rows, splits, labels).subtract(most) is None


def test_with_too_many_labels_there_are_moments_for_the_pca_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped_moments, "MOST_LABELS", 5)
    rows = np.ones((12, WIDTH), np.float32)
    labels: list[str | None] = [f"photo {number}" for number in range(12)]
    few = table_moments(rows[:5], [None] * 5, labels[:5])
    other = table_moments(rows[5:8], [None] * 3, labels[5:8])
    assert few.roots is not None
    assert few.merge(other).roots is None
    many = table_moments(rows, [None] * 12, labels, batch=2)
    assert (many.roots, many.features.n) == (None, 12)
    assert many.merge(few).roots is None
    remaining = many.subtract(other)
    assert remaining is not None
    assert (remaining.roots, remaining.features.n) == (None, 9)


def test_the_moments_of_no_rows_have_their_width() -> None:
    empty = GroupedAccumulator(WIDTH).moments()
    assert (empty.n, empty.total.n, empty.total.scatter.shape) == (0, 0, (WIDTH, WIDTH))
    assert GroupedMoments(WIDTH).of(["Training"]).mean.shape == (WIDTH,)
