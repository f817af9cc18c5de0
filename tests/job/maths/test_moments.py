"""Moments: exact, mergeable in any order, and stable under offsets."""

import pickle
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from job.maths.moments import Moments, accumulate

WIDTH = 12


def features(rows: int, seed: int = 0, width: int = WIDTH) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, 5)) @ generator.normal(size=(5, width)) + generator.normal(size=width)


def moments_of(rows: NDArray[Any]) -> Moments:
    return accumulate([rows], rows.shape[1])


def assert_same(actual: Moments, expected: Moments, digits: float = 1e-12) -> None:
    assert actual.n == expected.n
    np.testing.assert_allclose(actual.mean, expected.mean, rtol=digits, atol=digits)
    size = float(np.abs(expected.scatter).max(initial=1e-300))
    assert np.abs(actual.scatter - expected.scatter).max() <= digits * size


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_moments_are_the_mean_and_numpys_covariance_in_float64(kind: type) -> None:
    rows: NDArray[Any] = features(500).astype(kind)
    moments, exact = moments_of(rows), rows.astype(np.float64)
    assert moments.n == 500
    np.testing.assert_allclose(moments.mean, exact.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.scatter / 499, np.cov(exact, rowvar=False), rtol=1e-10, atol=1e-13)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.data())
def test_parts_merge_in_any_order_to_the_same_moments(data: st.DataObject) -> None:
    rows = features(data.draw(st.integers(2, 200)), data.draw(st.integers(0, 99)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=8)))
    parts = [moments_of(part) for part in np.split(rows, cuts)]
    parts = data.draw(st.permutations(parts))
    while len(parts) > 1:  # any tree of merges
        left = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        right = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        parts.insert(0, left.merge(right))
    assert_same(parts[0], moments_of(rows))


@pytest.mark.parametrize("sizes", [[7], [1] * 40, [3, 0, 1024, 5, 2048, 1], [5000]])
def test_any_division_into_batches_gives_the_same_moments(sizes: list[int]) -> None:
    rows = features(sum(sizes))
    batches = np.split(rows, np.cumsum(sizes)[:-1])
    assert_same(accumulate(batches, WIDTH), moments_of(rows))


def test_an_offset_of_a_million_costs_no_precision() -> None:
    # Multiples of 2⁻²⁰ stay exact when 10⁶ is added, so both sides have the same deviations.
    rows = np.round(features(5000) * 2**20) / 2**20
    plain, shifted = moments_of(rows), moments_of(rows + 1e6)
    assert np.abs(shifted.scatter - plain.scatter).max() <= 1e-12 * np.abs(plain.scatter).max()
    parts = [moments_of(part + 1e6) for part in np.split(rows, 50)]
    # A mean near 10⁶ is exact only to 10⁻¹⁰, and a merge uses the difference of means.
    assert_same(reduce(Moments.merge, parts), shifted, digits=1e-11)


def test_merging_or_subtracting_empty_moments_changes_nothing() -> None:
    moments, empty = moments_of(features(9)), accumulate([], WIDTH)
    assert empty.n == moments_of(features(0)).n == 0
    for merged in (moments.merge(empty), empty.merge(moments), moments.subtract(empty)):
        assert merged is moments


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.data())
def test_subtracting_merged_rows_restores_the_moments(data: st.DataObject) -> None:
    kept_rows = features(data.draw(st.integers(20, 200)), data.draw(st.integers(0, 99)))
    removed_rows = features(data.draw(st.integers(0, len(kept_rows))), data.draw(st.integers(100, 199)))
    offset = data.draw(st.sampled_from([0.0, 1.0, 50.0]))
    removed = moments_of(removed_rows + offset)
    difference = moments_of(kept_rows).merge(removed).subtract(removed)
    assert difference is not None
    assert_same(difference, moments_of(kept_rows), 1e-9)


def test_more_than_half_of_the_rows_cannot_be_subtracted() -> None:
    rows = features(100)
    assert moments_of(rows).subtract(moments_of(rows[:51])) is None
    assert moments_of(rows).subtract(moments_of(rows[:50])) is not None
    assert moments_of(rows).subtract(moments_of(rows)) is None


@pytest.mark.parametrize(("offset", "is_exact"), [(1e3, True), (1e5, False), (1e8, False)])
def test_a_difference_that_would_lose_precision_is_none(offset: float, is_exact: bool) -> None:
    rows = features(100)
    outlier = rows[:1].copy()
    outlier[0, 3] += offset  # one feature of one photo is enough
    difference = moments_of(np.vstack([rows, outlier])).subtract(moments_of(outlier))
    assert (difference is not None) is is_exact
    if difference is not None:
        assert_same(difference, moments_of(rows), 1e-9)


def test_pickled_moments_take_half_of_the_scatter() -> None:
    width = 64
    moments = moments_of(features(40, width=width))
    data = pickle.dumps(moments)
    assert_same(pickle.loads(data), moments)
    assert len(data) < 8 * (width * (width + 1) / 2 + width) + 1000 < 8 * width**2
