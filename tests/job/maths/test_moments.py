"""Moments: exact, mergeable in any order, and steady under offsets."""

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


def assert_same(found: Moments, wanted: Moments, digits: float = 1e-12) -> None:
    assert found.n == wanted.n
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=digits, atol=digits)
    size = float(np.abs(wanted.scatter).max(initial=1e-300))
    assert np.abs(found.scatter - wanted.scatter).max() <= digits * size


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_moments_are_the_mean_and_numpys_covariance_in_float64(kind: type) -> None:
    rows: NDArray[Any] = features(500).astype(kind)
    found, exact = moments_of(rows), rows.astype(np.float64)
    assert found.n == 500
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.scatter / 499, np.cov(exact, rowvar=False), rtol=1e-10, atol=1e-13)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.data())
def test_parts_merged_in_any_order_and_grouping_agree(data: st.DataObject) -> None:
    rows = features(data.draw(st.integers(2, 200)), data.draw(st.integers(0, 99)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=8)))
    parts = [moments_of(part) for part in np.split(rows, cuts)]
    parts = data.draw(st.permutations(parts))
    while len(parts) > 1:  # any tree: two parts anywhere become one
        left = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        right = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        parts.insert(0, left.merge(right))
    assert_same(parts[0], moments_of(rows))


@pytest.mark.parametrize("sizes", [[7], [1] * 40, [3, 0, 1024, 5, 2048, 1], [5000]])
def test_the_cut_into_batches_does_not_matter(sizes: list[int]) -> None:
    rows = features(sum(sizes))
    batches = np.split(rows, np.cumsum(sizes)[:-1])
    assert_same(accumulate(batches, WIDTH), moments_of(rows))


def test_an_offset_of_a_million_costs_no_digits() -> None:
    # Multiples of 2⁻²⁰ stay exact when 10⁶ is added, so both sides see the very same deviations.
    rows = np.round(features(5000) * 2**20) / 2**20
    plain, shifted = moments_of(rows), moments_of(rows + 1e6)
    assert np.abs(shifted.scatter - plain.scatter).max() <= 1e-12 * np.abs(plain.scatter).max()
    parts = [moments_of(part + 1e6) for part in np.split(rows, 50)]
    # A mean near 10⁶ is itself only known to 10⁻¹⁰, and merging parts rests on the difference of means.
    assert_same(reduce(Moments.merge, parts), shifted, digits=1e-11)


def test_nothing_merges_with_anything_and_changes_nothing() -> None:
    some, nothing = moments_of(features(9)), accumulate([], WIDTH)
    assert nothing.n == moments_of(features(0)).n == 0
    for merged in (some.merge(nothing), nothing.merge(some), some.subtract(nothing)):
        assert merged is some


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.data())
def test_what_is_merged_and_taken_out_again_leaves_no_trace(data: st.DataObject) -> None:
    stay = features(data.draw(st.integers(20, 200)), data.draw(st.integers(0, 99)))
    go = features(data.draw(st.integers(0, len(stay))), data.draw(st.integers(100, 199)))
    offset = data.draw(st.sampled_from([0.0, 1.0, 50.0]))
    found = moments_of(stay).merge(moments_of(go + offset)).subtract(moments_of(go + offset))
    assert found is not None
    assert_same(found, moments_of(stay), 1e-9)


def test_more_than_half_of_the_rows_are_not_taken_out() -> None:
    rows = features(100)
    assert moments_of(rows).subtract(moments_of(rows[:51])) is None
    assert moments_of(rows).subtract(moments_of(rows[:50])) is not None
    assert moments_of(rows).subtract(moments_of(rows)) is None


@pytest.mark.parametrize(("far", "kept"), [(1e3, True), (1e5, False), (1e8, False)])
def test_a_difference_that_would_lose_digits_is_none(far: float, kept: bool) -> None:
    near = features(100)
    outlier = near[:1].copy()
    outlier[0, 3] += far  # one feature of one photo is enough
    found = moments_of(np.vstack([near, outlier])).subtract(moments_of(outlier))
    assert (found is not None) is kept
    if found is not None:
        assert_same(found, moments_of(near), 1e-9)
