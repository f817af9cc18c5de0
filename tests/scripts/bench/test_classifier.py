"""The figures of the classifier: shares and AUROC, and that what is left out is not in the fit."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from job.maths.calibration import LabelledRows
from job.model import classifier as job_classifier
from scripts.bench import classifier, recognition
from scripts.bench.changed_photos import CHANGES, Pixels
from tests.support.keras_network import some

FEATURES = 24
# Two varieties are near each other, the species far apart.
LABELS = {"Apple Green": (0, 1), "Apple Red": (0, 2), "Banana": (8, 0), "Plum 1": (16, 1), "Plum 2": (16, 2)}


def photos(split: str, each: int, seed: int) -> LabelledRows:
    """Return photos whose largest features tell their species, and others their variety."""
    rng = np.random.default_rng(seed)
    labels = [label for label in LABELS for _ in range(each)]
    rows = rng.gamma(4, 0.25, (len(labels), FEATURES)).astype(np.float32)
    for row, label in zip(rows, labels, strict=True):
        species, variety = LABELS[label]
        row[species : species + 4] += 20
        row[species + 4 + variety] += 8
    paths = [f"/photos/{split}/{label}/{number}.jpg" for number, label in enumerate(labels)]
    return LabelledRows(paths, labels, [split] * len(labels), rows)


TRAINING, TEST = photos("Training", 30, 1), photos("Test", 10, 2)


@pytest.fixture
def fitted_labels(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[set[str]]]:
    """Yield the labels of each fit, in the order of the fits."""
    seen: list[set[str]] = []
    original = classifier.fit

    def fit(training: LabelledRows) -> job_classifier.Classifier:
        seen.append(set(training.labels))
        return original(training)

    monkeypatch.setattr(classifier, "fit", fit)
    yield seen


def test_auroc_is_the_share_of_ordered_pairs() -> None:
    rng = np.random.default_rng(0)
    unknown, known = (rng.integers(0, 9, size).astype(float) for size in (30, 50))
    pairs = [(a > b) + (a == b) / 2 for a in unknown for b in known]
    assert classifier.auroc(unknown, known) == pytest.approx(np.mean(pairs))
    assert classifier.auroc(known + 10, known) == 1


def test_the_answers_are_those_of_the_job() -> None:
    fitted = classifier.fit(TRAINING)
    figures = classifier.answers(fitted, TEST.rows, TEST.labels)
    score, _ = job_classifier.score(fitted, TEST)
    assert figures["label_right"] == score["label_accuracy"] > 0.9
    assert figures["species_right"] == score["species_accuracy"] == 1
    assert {name: figures[name] * 50 for name in job_classifier.STATES} == pytest.approx(score["states"])
    swapped = classifier.answers(fitted, TEST.rows, TEST.labels[::-1])
    assert swapped["known_wrong"] > 0.5 and swapped["label_right"] < 0.4
    assert classifier.answers(fitted, TEST.rows).keys() == {"photos", *job_classifier.STATES}


def test_each_species_is_left_out_of_the_fit_that_judges_it(fitted_labels: list[set[str]]) -> None:
    figures = classifier.unknown_species(TRAINING, TEST)
    assert list(figures) == ["Apple", "Banana", "Plum"]
    apples, bananas, plums = {"Apple Green", "Apple Red"}, {"Banana"}, {"Plum 1", "Plum 2"}
    assert fitted_labels == [bananas | plums, apples | plums, apples | bananas]
    for species, share in figures.items():
        assert share["photos"] == sum(label.startswith(species) for label in TEST.labels)
        assert share["unlike"] == share["auroc"] == 1, species


def test_varieties_of_species_with_several_are_left_out_one_by_one(fitted_labels: list[set[str]]) -> None:
    figures = classifier.unknown_varieties(TRAINING, TEST, most=99)
    assert list(figures) == ["Apple Green", "Apple Red", "Plum 1", "Plum 2"]
    assert fitted_labels == [set(LABELS) - {label} for label in figures]
    for shares in figures.values():
        assert shares["label_right"] == 0 and shares["known_wrong"] == shares["known"]
    assert list(classifier.unknown_varieties(TRAINING, TEST, most=2)) == ["Apple Green", "Plum 1"]


def brightness(pixels: Pixels) -> NDArray[np.float32]:
    """Stand in for the network: a histogram of each colour."""
    bins = [np.histogram(pixels[:, :, colour], 8, (0, 256))[0] for colour in range(3)]
    return np.concatenate(bins).astype(np.float32)


def test_changed_photos_are_judged_beside_the_same_photos_as_they_are(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = some(sample, 90)
    labels, paths = [file.parent.name for file in files], [str(file) for file in files]
    pictures = (np.asarray(Image.open(path).convert("RGB")) for path in paths)
    rows = classifier.features(pictures, brightness)
    fitted = classifier.fit(LabelledRows(paths, labels, ["Training"] * len(labels), rows))
    test = LabelledRows(paths, labels, ["Test"] * len(labels), rows)
    figures = classifier.changed_photos(fitted, test, brightness, most=32)
    assert list(figures) == ["as they are", *CHANGES, "no fruit", "drawn fruit"]
    assert {shares["photos"] for shares in figures.values()} == {32}
    for name, shares in figures.items():
        assert sum(shares[state] for state in job_classifier.STATES) == pytest.approx(1), name
        assert ("label_right" in shares) == (name not in ("no fruit", "drawn fruit"))
    right = {name: figures[name]["label_right"] for name in CHANGES}
    assert max(right.values()) < figures["as they are"]["label_right"]
    monkeypatch.setattr(classifier, "CHANGES", {"nothing": lambda photo, _: photo})
    figures = classifier.changed_photos(fitted, test, brightness, most=32)
    assert figures["nothing"] == figures["as they are"]


def test_a_subset_is_at_even_distances() -> None:
    assert classifier.evenly_spaced(10, 4) == [0, 2, 5, 7]
    assert classifier.evenly_spaced(3, 600) == [0, 1, 2]


def test_the_table_has_means_over_species_and_names_the_worst() -> None:
    shares = {"photos": 10, "known": 0.9, "unsure": 0.1, "unlike": 0.0}
    judged = {**shares, "label_right": 0.8, "species_right": 1.0, "known_wrong": 0.05}
    result = {
        "training_photos": 8928, "labels": 83, "fit_seconds": 7.04, "predict_seconds": 2.7e-5,
        "bytes": 909_000, "test": {**judged, "calibration_error": 0.009},
        "unknown_species": {
            "Peach": {**shares, "unlike": 0.5, "auroc": 0.98},
            "Plum": {**shares, "unlike": 1.0, "auroc": 0.96},
        },
        "unknown_varieties": {},
        "changed": {"as they are": judged, "no fruit": shares},
    }  # fmt: skip
    lines = recognition.details(result).splitlines()
    assert lines[0] == (
        "8,928 photos of 83 labels fitted in 7.0 s; 27 µs a photo; npz of 909 kB; calibration error 0.9%"
    )
    cells = {line[:22].strip(): line[22:].split() for line in lines[1:] if line[22:].strip()}
    assert cells["Test"] == ["10", "90.0", "10.0", "0.0", "80.0", "100.0", "5.0"]
    assert cells["unknown species (2)"] == ["20", "90.0", "10.0", "75.0", "-", "-", "-"]
    assert cells["no fruit"] == ["10", "90.0", "10.0", "0.0", "-", "-", "-"]
    assert lines[-1] == (
        "unknown species: refused least Peach, 50.0%; AUROC of the distance 0.970, least Plum, 0.960"
    )
