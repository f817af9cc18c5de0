"""Moments: exact, mergeable in any order, and steady under offsets."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from job import moments
from job.moments import Moments, accumulate

WIDTH = 12


def features(rows: int, seed: int = 0, width: int = WIDTH) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, 5)) @ generator.normal(size=(5, width)) + generator.normal(size=width)


def assert_same(found: Moments, wanted: Moments, digits: float = 1e-12) -> None:
    assert found.n == wanted.n
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=digits, atol=digits)
    size = float(np.abs(wanted.scatter).max(initial=1e-300))
    assert np.abs(found.scatter - wanted.scatter).max() <= digits * size


def test_moments_are_the_mean_and_numpys_covariance() -> None:
    rows = features(500)
    found = Moments.of(rows)
    assert found.n == 500
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.scatter / 499, np.cov(rows, rowvar=False), rtol=1e-10, atol=1e-13)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.data())
def test_parts_merged_in_any_order_and_grouping_agree(data: st.DataObject) -> None:
    rows = features(data.draw(st.integers(2, 200)), data.draw(st.integers(0, 99)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=8)))
    parts = [Moments.of(part) for part in np.split(rows, cuts)]
    parts = data.draw(st.permutations(parts))
    while len(parts) > 1:  # any tree: two parts anywhere become one
        left = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        right = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        parts.insert(0, left.merge(right))
    assert_same(parts[0], Moments.of(rows))


@pytest.mark.parametrize("sizes", [[7], [1] * 40, [3, 0, 1024, 5, 2048, 1], [5000]])
def test_the_cut_into_batches_does_not_matter(sizes: list[int]) -> None:
    rows = features(sum(sizes))
    batches = np.split(rows, np.cumsum(sizes)[:-1])
    assert_same(accumulate(batches, WIDTH), Moments.of(rows))


def test_float32_rows_are_summed_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "ROWS_PER_BLOCK", 16)
    rows = features(333).astype(np.float32)
    wanted = np.cov(rows.astype(np.float64), rowvar=False) * 332
    np.testing.assert_allclose(accumulate([rows], WIDTH).scatter, wanted, rtol=1e-11, atol=1e-11)


def test_an_offset_of_a_million_costs_no_digits() -> None:
    # Multiples of 2⁻²⁰ stay exact when 10⁶ is added, so both sides see the very same deviations.
    rows = np.round(features(5000) * 2**20) / 2**20
    plain, shifted = Moments.of(rows), Moments.of(rows + 1e6)
    assert np.abs(shifted.scatter - plain.scatter).max() <= 1e-12 * np.abs(plain.scatter).max()
    parts = [Moments.of(part + 1e6) for part in np.split(rows, 50)]
    # A mean near 10⁶ is itself only known to 10⁻¹⁰, and merging parts rests on the difference of means.
    assert_same(reduce(Moments.merge, parts, Moments.none(WIDTH)), shifted, digits=1e-11)


def test_a_constant_column_has_no_scatter() -> None:
    rows = features(3000)
    rows[:, 3] = 1234.56789
    found = accumulate(np.split(rows, 30), WIDTH)
    assert np.abs(found.scatter[3]).max() <= 1e-9 * np.abs(found.scatter).max()


def test_nothing_merges_with_anything_and_changes_nothing() -> None:
    some = Moments.of(features(9))
    for merged in (
        some.merge(Moments.none(WIDTH)),
        Moments.none(WIDTH).merge(some),
        reduce(Moments.merge, [some], Moments.none(WIDTH)),
    ):
        assert merged.n == 9
        np.testing.assert_array_equal(merged.scatter, some.scatter)
    assert accumulate([], WIDTH).n == 0
    assert Moments.of(features(0)).n == 0


def test_merging_changes_neither_part() -> None:
    left, right = Moments.of(features(20, 1)), Moments.of(features(30, 2))
    before = left.scatter.copy(), right.scatter.copy()
    left.merge(right)
    np.testing.assert_array_equal(left.scatter, before[0])
    np.testing.assert_array_equal(right.scatter, before[1])


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.data())
def test_what_is_merged_and_taken_out_again_leaves_no_trace(data: st.DataObject) -> None:
    stay = features(data.draw(st.integers(20, 200)), data.draw(st.integers(0, 99)))
    go = features(data.draw(st.integers(0, len(stay))), data.draw(st.integers(100, 199)))
    offset = data.draw(st.sampled_from([0.0, 1.0, 50.0]))
    found = Moments.of(stay).merge(Moments.of(go + offset)).without(Moments.of(go + offset))
    assert found is not None
    assert_same(found, Moments.of(stay), 1e-9)


def test_taking_out_parts_of_one_pass_over_all_rows_leaves_the_others() -> None:
    rows = features(300)
    left = Moments.of(rows)
    for part in (rows[:50], rows[50:53], rows[53:53], rows[53:130]):
        taken = left.without(Moments.of(part))
        assert taken is not None
        left = taken
    assert_same(left, Moments.of(rows[130:]), 1e-9)


def test_taking_out_no_rows_changes_nothing() -> None:
    whole = Moments.of(features(9))
    assert whole.without(Moments.none(WIDTH)) is whole
    nothing = Moments.none(WIDTH)
    assert nothing.without(nothing) is nothing


def test_more_than_half_of_the_rows_are_not_taken_out() -> None:
    rows = features(100)
    assert Moments.of(rows).without(Moments.of(rows[:51])) is None
    assert Moments.of(rows).without(Moments.of(rows[:50])) is not None
    assert Moments.of(rows).without(Moments.of(rows)) is None


@pytest.mark.parametrize(("far", "kept"), [(1e3, True), (1e5, False), (1e8, False)])
def test_a_difference_that_would_lose_digits_is_none(far: float, kept: bool) -> None:
    near = features(100)
    outlier = near[:1].copy()
    outlier[0, 3] += far  # one feature of one photo is enough
    found = Moments.of(np.vstack([near, outlier])).without(Moments.of(outlier))
    assert (found is not None) is kept
    if found is not None:
        assert_same(found, Moments.of(near), 1e-9)


def test_what_is_left_of_rows_that_do_not_differ_is_none_or_exact() -> None:
    varied, same = features(4), np.ones((8, WIDTH))
    same[0] += 1e-9
    found = Moments.of(np.vstack([same, varied])).without(Moments.of(varied))
    assert found is None
