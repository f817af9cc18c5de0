"""Calibration: whole blocks of frames are held out, and the bounds are those that held-out photos give."""

import numpy as np
import pytest
from numpy.typing import NDArray

from job.maths import calibration, discriminant
from job.maths.calibration import HeldOut, LabelledRows, blocks, calibrate, cross_validate
from job.maths.grouped_moments import GroupedAccumulator, GroupedMoments

WIDTH = 12
TRAINING = ["Training"]


def photos(
    labels: int = 3, count: int = 60, noise: float = 1.0
) -> tuple[list[str], list[str], NDArray[np.float32]]:
    """Return paths, labels and rows ``(labels * count, 12)`` of labels that overlap a little."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(labels, WIDTH)) * 0.8
    rows = np.vstack([centre + rng.normal(size=(count, WIDTH)) * noise for centre in centres])
    names = [f"Fruit {number}" for number in range(labels) for _ in range(count)]
    paths = [f"/Training/{name}/{number % count}_100.jpg" for number, name in enumerate(names)]
    return paths, names, rows.astype(np.float32)


def sample_of(
    paths: list[str], labels: list[str], rows: NDArray[np.float32]
) -> tuple[LabelledRows, GroupedMoments]:
    """Return photos of Training, and their moments."""
    accumulator = GroupedAccumulator(WIDTH)
    accumulator.add(rows, ["Training"] * len(rows), labels)
    return LabelledRows(paths, labels, ["Training"] * len(rows), rows), accumulator.moments()


def logits(count: int, temperature: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return squared distances ``(count, 4)``, and labels drawn with the softmax's probabilities."""
    rng = np.random.default_rng(3)
    distances = rng.exponential(size=(count, 4)) * 10
    probabilities = calibration.softmax(distances, temperature)
    draws = rng.random((count, 1))
    return distances, (probabilities.cumsum(axis=1) < draws).sum(axis=1)


def test_a_block_is_a_tenth_of_each_label_with_neighbouring_numbers() -> None:
    paths, labels, _ = photos(labels=2, count=30)
    order = np.random.default_rng(4).permutation(len(paths))
    parts = blocks([paths[number] for number in order], [labels[number] for number in order])
    assert len(parts) == 10
    for block, part in enumerate(parts):
        expected = [start + 3 * block + step for start in (0, 30) for step in range(3)]
        assert [order[number] for number in part] == expected


def test_each_photo_is_in_one_block_even_of_labels_with_few() -> None:
    paths, labels, _ = photos(labels=3, count=7)
    parts = blocks(paths, labels)
    assert sorted(number for part in parts for number in part) == list(range(21))
    assert blocks([], []) == []


def test_held_out_photos_are_seen_by_a_fit_without_them() -> None:
    paths, labels, rows = photos()
    sample, total = sample_of(paths, labels, rows)
    shrinkage, held_out = cross_validate(sample, total, TRAINING)
    assert len(held_out.truth) == len(rows)
    last = blocks(paths, labels)[-1]
    others = [number for number in range(len(rows)) if number not in last]
    _, moments = sample_of(paths, [labels[number] for number in others], rows[others])
    model = discriminant.fit(moments, TRAINING, shrinkage)
    assert model is not None
    expected = model.distances(model.coordinates(rows[last]))
    np.testing.assert_allclose(held_out.distances[-len(last) :], expected, rtol=1e-6, atol=1e-9)


def test_a_sample_of_more_photos_is_held_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "blocks", lambda *_: pytest.fail("neighbours would stay in the fits"))
    paths, labels, rows = photos()
    _, total = sample_of(paths, labels, rows)
    first = [number for number in range(len(rows)) if number % 60 < 12]
    sample = LabelledRows(
        [paths[n] for n in first], [labels[n] for n in first], ["Training"] * len(first), rows[first]
    )
    shrinkage, held_out = cross_validate(sample, total, TRAINING)
    rest = [number for number in range(len(rows)) if number % 60 >= 12]
    _, moments = sample_of(paths, [labels[n] for n in rest], rows[rest])
    model = discriminant.fit(moments, TRAINING, shrinkage)
    assert model is not None
    expected = model.distances(model.coordinates(rows[first]))
    np.testing.assert_allclose(held_out.distances, expected, rtol=1e-6, atol=1e-9)


def test_a_label_of_one_block_alone_is_not_held_out() -> None:
    paths, labels, rows = photos()
    paths, labels = [*paths, "/Training/Rare/1.jpg"], [*labels, "Rare"]
    sample, total = sample_of(paths, labels, np.vstack([rows, rows[:1] + 9]))
    _, held_out = cross_validate(sample, total, TRAINING)
    assert len(held_out.truth) == len(rows)
    assert np.isinf(held_out.distances).any(), "the fit without it does not know the label"
    assert calibrate(held_out) is not None


def test_shrinkage_is_large_where_photos_are_few() -> None:
    few = cross_validate(*sample_of(*photos(count=6)), TRAINING)[0]
    many = cross_validate(*sample_of(*photos(labels=6, count=400, noise=2)), TRAINING)[0]
    assert few > 0.02
    assert many <= few


@pytest.mark.parametrize("temperature", [1.5, 4.0, 20.0])
def test_the_temperature_is_that_of_the_labels(temperature: float) -> None:
    distances, truth = logits(20_000, temperature)
    assert calibration.fit_temperature(distances, truth) == pytest.approx(temperature, rel=0.06)


def test_without_an_error_answers_are_as_sure_as_the_fit_and_no_surer() -> None:
    distances = np.array([[1.0, 40.0], [50.0, 2.0]] * 20)
    assert calibration.fit_temperature(distances, np.array([0, 1] * 20)) == pytest.approx(1.0)


def test_calibrated_probabilities_have_a_small_error_and_others_have_not() -> None:
    distances, truth = logits(20_000, 4.0)
    for temperature, bounds in ((4.0, (0.0, 0.01)), (1.0, (0.05, 1.0))):
        probabilities = calibration.softmax(distances, temperature)
        is_right = probabilities.argmax(axis=1) == truth
        error = calibration.calibration_error(probabilities.max(axis=1), is_right)
        assert bounds[0] <= error < bounds[1]


def test_the_calibration_error_is_the_mean_gap_by_bins() -> None:
    probabilities = np.array([0.91, 0.92, 0.51, 0.52])
    is_right = np.array([True, True, True, False])
    gap = (0.09 + 0.08 + abs(0.51 + 0.52 - 1)) / 4
    assert calibration.calibration_error(probabilities, is_right) == pytest.approx(gap)


def test_above_the_confidence_99_of_100_answers_are_right() -> None:
    probabilities = np.linspace(1.0, 0.5, 1000)
    is_right = np.ones(1000, bool)
    is_right[300::20] = False
    bound = calibration.confidence(probabilities, is_right)
    assert is_right[probabilities >= bound].mean() >= 0.99
    assert is_right[probabilities >= bound - 0.02].mean() < 0.99


def test_one_wrong_answer_of_few_does_not_end_all_confidence() -> None:
    is_right = np.ones(60, bool)
    is_right[30] = False
    assert calibration.confidence(np.linspace(0.99, 0.6, 60), is_right) == pytest.approx(0.6)
    is_right[10] = False
    assert calibration.confidence(np.linspace(0.99, 0.6, 60), is_right) > 0.78


def test_easy_photos_ask_for_no_more_than_99_percent() -> None:
    assert calibration.confidence(np.full(50, 0.9999), np.ones(50, bool)) == 0.99


@pytest.mark.parametrize(("right", "bound"), [(True, 0.5), (False, 2.0)])
def test_a_confidence_is_at_least_one_half_and_out_of_reach_if_no_answer_is_right(
    right: bool, bound: float
) -> None:
    assert calibration.confidence(np.linspace(0.9, 0.1, 50), np.full(50, right)) == bound


def test_the_distances_are_quantiles_of_held_out_ones() -> None:
    count = 1000
    distances = np.column_stack([np.arange(count, dtype=float), np.full(count, 2e3)])
    bounds = calibrate(HeldOut(distances, np.full(count, 100.0), np.zeros(count, np.int64)))
    assert bounds is not None
    assert bounds.known_distance == pytest.approx(949 - 100, abs=1)
    assert bounds.answered_distance == pytest.approx(979 - 100, abs=1)
    assert bounds.photos == count


def test_fewer_than_20_held_out_photos_are_no_calibration() -> None:
    assert calibrate(HeldOut(np.ones((19, 2)), np.zeros(19), np.zeros(19, np.int64))) is None
    assert calibrate(HeldOut(np.ones((20, 2)), np.zeros(20), np.zeros(20, np.int64))) is not None
