"""Exact copies and near duplicates: between splits, between labels, and within them."""

from dataclasses import replace

import numpy as np
import pytest

from job.report import duplicates
from tests.job.report.test_photos import invented

LABELS = ["Apple", "Apple", "Pear", "Pear", "Apple", "Pear"]
SPLITS = ["Training", "Test", "Training", "Training", "Training", "Test"]


def test_copies_are_counted_and_so_are_those_that_cross_a_border() -> None:
    shown = replace(invented(LABELS, SPLITS), sha256=["a", "a", "b", "b", "", ""])
    assert duplicates.find_copies(shown) == duplicates.Copies(4, 2, 1, 0)


@pytest.mark.parametrize("rows_per_block", [2, 1_000])
def test_the_closest_pair_of_each_kind_is_found(rows_per_block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "ROWS_PER_BLOCK", rows_per_block)
    directions = [(1, 0), (1, 0.1), (-1, 0.4), (-1, 0.41), (-1, 0.3), (0, -1)]
    shown = replace(invented(LABELS, SPLITS), scores=np.array(directions, np.float32))
    pairs = duplicates.find_pairs(shown)
    assert [pair[:2] for pair in pairs["between_splits"].pairs][:1] == [(0, 1)]
    assert pairs["between_labels"].pairs[0][:2] == (2, 4)
    assert pairs["within"].pairs[0][:2] == (2, 3)
    assert pairs["within"].near == 2
    cosine = (1 * 1 + 0 * 0.1) / np.hypot(1, 0.1)
    assert pairs["between_splits"].pairs[0][2] == pytest.approx(cosine, abs=1e-4)


def test_no_photo_is_in_two_pairs_and_none_is_its_own_partner() -> None:
    pairs = duplicates.find_pairs(invented(["Apple"] * 40, ["Training", "Test"] * 20))
    for found in pairs.values():
        numbers = [number for first, second, _ in found.pairs for number in (first, second)]
        assert len(numbers) == len(set(numbers))
        assert len(found.pairs) <= duplicates.PAIRS_SHOWN
    assert pairs["between_labels"].pairs == []
