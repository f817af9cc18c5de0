"""The table predictions: one row a photo, of all photos or of those without a known label."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from job.model import predictions
from job.model.classifier import Classifier
from job.storage import store
from job.table import files, layout, schema
from job.table.layout import DataFile
from tests.support import outputs
from tests.support.fruit_tables import LABELS, add_photos, features, fit


@pytest.fixture
def fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    outputs.quick(monkeypatch)
    data_files = [add_photos(str(tmp_path / "fit"), number) for number in range(2)]
    model = fit(str(tmp_path / "fit"), data_files)
    assert model
    return model


def read(output: str, file: DataFile, model: Classifier, photos: str) -> list[dict[str, object]]:
    location = store.join(output, layout.predictions_path(file.path, model.model_id, photos))
    table = files.read(location)
    assert table.schema.equals(schema.PREDICTIONS)
    rows: list[dict[str, object]] = table.to_pylist()
    return rows


def test_each_photo_gets_the_classifiers_answer(fitted: Classifier, tmp_path: Path) -> None:
    file = add_photos(str(tmp_path), 7, "Test")
    predictions.write_file(str(tmp_path), file.path, fitted, "all")
    rows = read(str(tmp_path), file, fitted, "all")
    assert len(rows) == 48
    (row,) = (row for row in rows if row["path"] == "/Test/Lemon/7-5.jpg")
    answer = fitted.predict(features("Lemon", 12, 703)[5:6])
    assert row["label_1"] == LABELS[answer.labels[0, 0]] == "Lemon"
    assert row["probability_1"] == pytest.approx(answer.probabilities[0, 0])
    assert row["label_3"] == LABELS[answer.labels[0, 2]]
    assert row["distance"] == pytest.approx(answer.distance[0], rel=1e-6)
    assert (row["state"], row["species"], row["label"]) == ("known", "Lemon", "Lemon")


def test_unlabelled_photos_are_those_whose_label_it_does_not_know(fitted: Classifier, tmp_path: Path) -> None:
    file = add_photos(str(tmp_path), 7, None, ["Kiwi", "inbox", None], count=3)
    predictions.write_file(str(tmp_path), file.path, fitted, "unlabelled")
    rows = read(str(tmp_path), file, fitted, "unlabelled")
    assert [row["label"] for row in rows] == [None] * 3 + ["inbox"] * 3


def test_a_file_without_such_photos_is_read_once(fitted: Classifier, tmp_path: Path) -> None:
    output, file = str(tmp_path), add_photos(str(tmp_path), 7)
    classified: list[DataFile] = []

    def classify(some: Sequence[DataFile]) -> None:
        classified.extend(some)
        for one in some:
            predictions.write_file(output, one.path, fitted, "unlabelled")

    assert predictions.update(output, [file], fitted.model_id, "unlabelled", classify) == 48
    assert read(output, file, fitted, "unlabelled") == []
    assert predictions.update(output, [file], fitted.model_id, "unlabelled", classify) == 0
    new = add_photos(output, 8)
    assert predictions.update(output, [file, new], fitted.model_id, "unlabelled", classify) == 48
    assert classified == [file, new]


def test_with_two_labels_there_is_no_third(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs.quick(monkeypatch)
    output, labels = str(tmp_path), LABELS[2:]
    file = add_photos(output, 0, labels=labels)
    model = fit(output, [file])
    assert model
    predictions.write_file(output, file.path, model, "all")
    rows = read(output, file, model, "all")
    assert {row["label_3"] for row in rows} == {row["probability_3"] for row in rows} == {None}
    assert np.allclose([row["probability_1"] + row["probability_2"] for row in rows], 1)  # type: ignore[operator]
