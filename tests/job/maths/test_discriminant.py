"""The discriminant: equal to the textbook's analysis, and to that of any other order of the same rows."""

import numpy as np
import pytest
from numpy.typing import NDArray

from job.maths import discriminant
from job.maths.discriminant import Discriminant
from job.maths.grouped_moments import GroupedAccumulator, GroupedMoments

WIDTH = 8
LABELS = ("Apple Red", "Banana", "Kiwi", "Lemon")
TRAINING = ["Training"]


def photos(count: int = 40, seed: int = 0, shift: float = 0.0) -> tuple[NDArray[np.float64], list[str]]:
    """Return `count` rows ``(8,)`` of each label, around the label's own centre, and their labels."""
    centres = np.random.default_rng(1).normal(size=(len(LABELS), WIDTH)) * 2
    noise = np.eye(WIDTH) + np.random.default_rng(2).normal(size=(WIDTH, WIDTH)) / 4
    rng = np.random.default_rng(seed)
    rows = np.vstack([centre + rng.normal(size=(count, WIDTH)) @ noise for centre in centres])
    shifted: NDArray[np.float64] = rows + shift
    return shifted, [label for label in LABELS for _ in range(count)]


def moments_of(rows: NDArray[np.float64], labels: list[str], split: str = "Training") -> GroupedMoments:
    accumulator = GroupedAccumulator(WIDTH)
    accumulator.add(rows, [split] * len(rows), labels)
    return accumulator.moments()


def fitted(moments: GroupedMoments, shrinkage: float = 1e-9) -> Discriminant:
    model = discriminant.fit(moments, TRAINING, shrinkage)
    assert model is not None
    return model


def within_covariance(rows: NDArray[np.float64], labels: list[str]) -> NDArray[np.float64]:
    own = np.array(labels)
    centred = np.vstack([rows[own == label] - rows[own == label].mean(axis=0) for label in LABELS])
    covariance: NDArray[np.float64] = centred.T @ centred / (len(rows) - len(LABELS))
    return covariance


def test_distances_are_those_of_mahalanobis() -> None:
    rows, labels = photos()
    model, others = fitted(moments_of(rows, labels)), photos(seed=9)[0]
    inverse = np.linalg.inv(within_covariance(rows, labels))
    means = np.array([rows[np.array(labels) == label].mean(axis=0) for label in LABELS])
    full = np.array([[(row - mean) @ inverse @ (row - mean) for mean in means] for row in others])
    distances = model.distances(model.coordinates(others))
    # Outside of the canonical axes, all labels are equally far.
    outside = full - distances
    np.testing.assert_allclose(outside, np.repeat(outside[:, :1], len(LABELS), axis=1), rtol=1e-6, atol=1e-6)
    assert (outside > -1e-6).all()


def test_shrinkage_mixes_the_covariance_with_its_mean_diagonal() -> None:
    rows, labels = photos()
    model = fitted(moments_of(rows, labels), 0.3)
    covariance = within_covariance(rows, labels)
    shrunk = 0.7 * covariance + 0.3 * np.trace(covariance) / WIDTH * np.eye(WIDTH)
    np.testing.assert_allclose(model.axes @ shrunk @ model.axes.T, np.eye(3), atol=1e-9)


def test_the_background_is_the_distance_from_all_photos() -> None:
    rows, labels = photos(count=400)
    model = fitted(moments_of(rows, labels))
    coordinates = model.coordinates(rows)
    np.testing.assert_allclose(coordinates.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(coordinates.var(axis=0), model.spread, rtol=0.01)
    assert model.background(coordinates).mean() == pytest.approx(3, rel=0.01), "one for each axis"


def test_labels_with_more_photos_weigh_more_in_the_spread() -> None:
    rows, labels = photos(count=100)
    few = [number for number in range(len(rows)) if number < 100 or number % 100 < 20]
    own_labels = [labels[number] for number in few]
    model = fitted(moments_of(rows[few], own_labels))
    coordinates = model.coordinates(rows[few])
    np.testing.assert_allclose(coordinates.var(axis=0), model.spread, rtol=0.05)
    np.testing.assert_allclose(np.cov(coordinates.T, bias=True), np.diag(model.spread), atol=0.15)


def test_axes_are_in_order_of_what_they_separate() -> None:
    model = fitted(moments_of(*photos()))
    assert (np.diff(model.spread) < 0).all()
    assert model.axes.shape == (len(LABELS) - 1, WIDTH)


def test_the_fit_depends_neither_on_order_nor_on_a_common_offset() -> None:
    rows, labels = photos()
    order = np.random.default_rng(5).permutation(len(rows))
    model = fitted(moments_of(rows, labels))
    shuffled = fitted(moments_of(rows[order], [labels[number] for number in order]))
    np.testing.assert_allclose(shuffled.axes, model.axes, rtol=1e-9, atol=1e-12)
    shifted_rows = photos(shift=1e6)[0]
    shifted = fitted(moments_of(shifted_rows, labels))
    np.testing.assert_allclose(
        shifted.coordinates(shifted_rows), model.coordinates(rows), rtol=1e-5, atol=1e-5
    )


def test_only_the_splits_asked_for_are_fitted() -> None:
    rows, labels = photos()
    model = fitted(moments_of(rows, labels))
    both = moments_of(rows, labels).merge(moments_of(rows + 50, labels[::-1], split="Test"))
    np.testing.assert_allclose(fitted(both).axes, model.axes, rtol=1e-12)
    all_splits = discriminant.fit(both, ["Training", "Test"], 0.1)
    assert all_splits is not None
    assert all_splits.counts.tolist() == [80] * len(LABELS)


def test_there_is_no_fit_without_two_labels_or_without_differences() -> None:
    rows, labels = photos()
    assert discriminant.fit(moments_of(rows, ["Kiwi"] * len(rows)), TRAINING, 0.1) is None
    assert discriminant.fit(moments_of(rows[::40], labels[::40]), TRAINING, 0.1) is None, "one photo each"
    equal = np.repeat(rows[:1], 4, axis=0)
    assert discriminant.fit(moments_of(equal, ["Kiwi", "Kiwi", "Lemon", "Lemon"]), TRAINING, 0.1) is None
    assert discriminant.fit(moments_of(rows, labels), ["Test"], 0.1) is None
