"""The classifier: known labels, species of which the variety is unsure, and what is unlike anything seen."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from job.maths.calibration import LabelledRows
from job.model import classifier, labelled_rows
from job.model.classifier import STATES, Classifier, Predictions, species_of
from tests.support import fruit_tables, outputs
from tests.support.fruit_tables import LABELS, add_photos, moments_of


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs.quick(monkeypatch)


def fit(output: str, splits: Sequence[str] = ("Training",), count: int = 12) -> Classifier | None:
    data_files = [add_photos(output, number, split, count=count) for number, split in enumerate(splits)]
    return fruit_tables.fit(output, data_files)


@pytest.fixture
def fitted(tmp_path: Path) -> Classifier:
    model = fit(str(tmp_path), ["Training", "Training"])
    assert isinstance(model, Classifier)
    return model


def states(predictions: Predictions) -> list[str]:
    return [STATES[state] for state in predictions.state]


def distances(model: Classifier, probabilities: list[float]) -> NDArray[np.float64]:
    """Return the squared distances ``(1, 4)`` that have these probabilities."""
    squares: NDArray[np.float64] = -2 * model.calibration.temperature * np.log([probabilities])
    squares -= squares.min()
    return squares


def test_new_photos_of_known_labels_are_known(fitted: Classifier) -> None:
    for number, label in enumerate(LABELS):
        predictions = fitted.predict(fruit_tables.features(label, 50, 1000 + number))
        assert (predictions.labels[:, 0] == number).mean() > 0.95
        assert states(predictions).count("known") > 40
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, atol=0.05)
    assert (np.diff(predictions.probabilities, axis=1) <= 0).all()


def test_photos_of_an_unknown_label_are_unlike_anything_seen(fitted: Classifier) -> None:
    assert set(states(fitted.predict(fruit_tables.features("Durian", 50, 7)))) == {"unlike"}


def test_between_two_varieties_only_the_species_is_named(fitted: Classifier) -> None:
    near = distances(fitted, [0.5, 0.498, 0.001, 0.001])
    answers = fitted.answers(near, np.array([-1e6]))
    assert states(answers) == ["unsure"]
    assert fitted.species[answers.species[0]] == "Apple"
    assert answers.species_probability[0] == pytest.approx(0.998)


def test_both_gates_must_be_passed(fitted: Classifier) -> None:
    fitted = replace(fitted, calibration=replace(fitted.calibration, confidence=0.9))
    sure, torn = (distances(fitted, [1e-9, 1e-9, kiwi, 1 - kiwi]) for kiwi in (1 - 1e-9, 0.4))
    close, far = np.array([-1e6]), np.array([1e6])
    assert states(fitted.answers(sure, close)) == ["known"]
    assert states(fitted.answers(sure, far)) == ["unlike"]
    assert states(fitted.answers(torn, close)) == ["unlike"], "of two species, neither is named"
    between = np.array([(fitted.calibration.known_distance + fitted.calibration.answered_distance) / 2])
    assert states(fitted.answers(sure, between)) == ["unsure"]


def test_it_is_fitted_on_training_or_on_all_but_test(tmp_path: Path) -> None:
    alone, with_test, without, test_alone = (
        fit(str(tmp_path / str(number)), splits)
        for number, splits in enumerate(
            [["Training"], ["Training", "Test"], ["Validation", "Test"], ["Test"]]
        )
    )
    assert alone
    assert with_test
    assert with_test.model_id == alone.model_id
    assert without
    assert without.discriminant.counts.tolist() == [12] * len(LABELS)
    assert test_alone
    everything = fit(str(tmp_path / "all"), ["Validation", ""])
    assert everything
    assert everything.discriminant.counts.tolist() == [24] * len(LABELS)


def test_too_few_photos_are_not_calibrated(tmp_path: Path) -> None:
    assert fit(str(tmp_path), count=1) is None


def test_the_moments_tell_why_there_can_be_none(tmp_path: Path) -> None:
    output = str(tmp_path)
    one = moments_of(output, [add_photos(output, 0, labels=LABELS[:1])])
    assert classifier.obstacle(one) == "a classifier needs two labels, and there are 1"
    assert classifier.obstacle(replace(one, roots=None)) == "there are more than 1,000 labels"
    assert classifier.obstacle(moments_of(output, [add_photos(output, 1)])) is None


def test_two_labels_are_enough(tmp_path: Path) -> None:
    output = str(tmp_path)
    model = fruit_tables.fit(output, [add_photos(output, 0, labels=LABELS[2:])])
    assert model
    rows = fruit_tables.features("Lemon", 5, 3)
    assert model.predict(rows).labels.shape == (5, 2)
    assert model.plane(rows).shape == (5, 2)


def test_of_more_photos_than_are_held_out_all_are_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled_rows, "MOST_PHOTOS", 48)
    model = fit(str(tmp_path), ["Training"] * 4)
    assert isinstance(model, Classifier)
    assert model.discriminant.counts.tolist() == [48] * len(LABELS)
    assert model.calibration.photos == 48


def test_scores_are_shares_of_right_answers(fitted: Classifier) -> None:
    photos = LabelledRows(
        paths=["a", "b", "c"],
        labels=["Kiwi", "Apple Red 2", "Apple Green"],
        splits=["Test"] * 3,
        rows=np.vstack(
            [fruit_tables.features(label, 1, 3) for label in ("Kiwi", "Apple Red 1", "Apple Red 1")]
        ),
    )
    figures, confusions = classifier.score(fitted, photos)
    assert figures["photos"] == 3
    assert figures["label_accuracy"] == pytest.approx(1 / 3)
    assert figures["species_accuracy"] == 1
    is_known = fitted.predict(photos.rows).state == 0
    assert figures["known_accuracy"] == pytest.approx(np.array([True, False, False])[is_known].mean())
    assert sum(figures["states"].values()) == 3
    assert confusions == {
        ("Kiwi", "Kiwi"): 1,
        ("Apple Red 2", "Apple Red 1"): 1,
        ("Apple Green", "Apple Red 1"): 1,
    }


@pytest.mark.parametrize(
    ("label", "species"), [("Apple Red 1", "Apple"), ("Kiwi", "Kiwi"), ("  Kiwi gold", "Kiwi"), (" ", " ")]
)
def test_a_species_is_the_first_word_of_a_label(label: str, species: str) -> None:
    assert species_of(label) == species
