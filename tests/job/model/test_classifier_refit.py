"""The classifier of an output follows from its photos: kept while they stay, made anew when they change."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from job.maths.grouped_moments import TableMoments
from job.model import classifier_refit, labelled_rows, saved_classifier
from job.model.classifier_refit import ChosenClassifier, choose_classifier, confusion_csv
from job.network.backbone import Backbone
from job.storage import store
from job.table import layout
from job.table.layout import DataFile
from tests.support import outputs
from tests.support.fruit_tables import LABELS, add_photos, assert_same_classifiers, moments_of

CONFUSION = "runs/a.confusion.csv"


class Choice:
    """Chooses the classifier of one output, and counts how often the network was loaded."""

    def __init__(self, output: Path) -> None:
        self.output, self.loads, self.backbone = str(output), 0, "a network"

    def choose(self, data_files: Sequence[DataFile], moments: TableMoments | None = None) -> ChosenClassifier:
        moments = moments or moments_of(self.output, data_files)
        chosen = choose_classifier(self.output, data_files, moments, self.backbone, CONFUSION, self._load)
        saved_classifier.set_current(self.output, chosen.record.get("model_id", ""), "")
        return chosen

    def _load(self) -> Backbone:
        self.loads += 1
        return Backbone("litert", b"a network", "", "a network", "nowhere")

    def model_json(self) -> dict[str, Any]:
        return saved_classifier.load_record(self.output)


@pytest.fixture
def choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Choice:
    outputs.quick(monkeypatch)
    return Choice(tmp_path)


def test_a_classifier_is_saved_with_what_it_was_fingerprint(choice: Choice) -> None:
    chosen = choice.choose([add_photos(choice.output, 0), add_photos(choice.output, 1, "Test")])
    assert chosen.classifier is not None
    assert chosen.record["fitted_now"]
    assert (chosen.record["labels"], chosen.record["species"]) == (4, 3)
    assert (chosen.record["fitted_on"], chosen.record["photos"]) == ("Training", 48)
    assert chosen.record["test"]["photos"] == 48
    assert chosen.record["test"]["label_accuracy"] > 0.9
    assert_same_classifiers(saved_classifier.load(choice.output), chosen.classifier)
    record = choice.model_json()
    assert record["labels"] == list(LABELS)
    assert record["backbone"] == "a network"
    assert record["summary"]["test"] == chosen.record["test"]
    assert record["limits"]
    names = {name.rsplit("/", 1)[1] for name, _ in store.list_files(f"{choice.output}/models")}
    assert {"classifier.npz", "classifier.tflite", "model.json", "current_classifier.json"} <= names


def test_it_stays_while_its_photos_stay_and_loads_nothing(
    choice: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_files = [add_photos(choice.output, 0)]
    first = choice.choose(data_files)
    monkeypatch.setattr(labelled_rows, "read", lambda *_: pytest.fail("a photo is read"))
    again = choice.choose(data_files)
    assert not again.record["fitted_now"]
    assert (again.record["model_id"], choice.loads) == (first.record["model_id"], 1)
    assert_same_classifiers(again.classifier, first.classifier)


def test_another_network_makes_a_new_one(choice: Choice) -> None:
    data_files = [add_photos(choice.output, 0)]
    choice.choose(data_files)
    choice.backbone = "another network"
    assert choice.choose(data_files).record["fitted_now"]
    assert choice.model_json()["backbone"] == "another network"


def test_new_photos_make_a_new_one_and_delete_the_old(choice: Choice) -> None:
    data_files = [add_photos(choice.output, 0)]
    first = choice.choose(data_files)
    second = choice.choose([*data_files, add_photos(choice.output, 1)])
    assert second.record["fitted_now"]
    assert first.record["model_id"] != second.record["model_id"]
    folders = {path.name for path in Path(choice.output, "models").iterdir() if path.is_dir()}
    assert folders == {second.record["model_id"]}


def test_new_test_photos_alone_change_the_scores_alone(choice: Choice) -> None:
    data_files = [add_photos(choice.output, 0), add_photos(choice.output, 1, "Test")]
    first = choice.choose(data_files)
    second = choice.choose([*data_files, add_photos(choice.output, 2, "Test")])
    assert second.record["model_id"] == first.record["model_id"]
    assert second.record["test"]["photos"] == 2 * first.record["test"]["photos"]
    assert choice.model_json()["summary"]["test"] == second.record["test"]


def test_ten_increments_give_the_classifier_of_one_run(choice: Choice, tmp_path: Path) -> None:
    splits = ["Training"] * 7 + ["Test"] * 3
    data_files = [add_photos(choice.output, number, split) for number, split in enumerate(splits)]
    moments = moments_of(choice.output, data_files[:1])
    for end in range(2, 11):
        moments = moments.merge(moments_of(choice.output, data_files[end - 1 : end]))
        chosen = choice.choose(data_files[:end], moments)
    other = Choice(tmp_path / "other")
    at_once = other.choose([add_photos(other.output, number, split) for number, split in enumerate(splits)])
    assert_same_classifiers(chosen.classifier, at_once.classifier)
    scores, expected = chosen.record["test"], at_once.record["test"]
    assert scores.pop("states") == expected.pop("states")
    assert scores == pytest.approx(expected)


def test_after_a_removal_it_is_that_of_the_photos_that_remain(choice: Choice, tmp_path: Path) -> None:
    data_files = [add_photos(choice.output, number) for number in range(6)]
    choice.choose(data_files)
    moments = moments_of(choice.output, data_files).subtract(moments_of(choice.output, data_files[:1]))
    remaining = choice.choose(data_files[1:], moments)
    other = Choice(tmp_path / "other")
    without = other.choose([add_photos(other.output, number) for number in range(1, 6)])
    assert_same_classifiers(remaining.classifier, without.classifier)


@pytest.mark.parametrize("damage", [b"", b"{}"])
def test_a_damaged_one_is_made_again(choice: Choice, damage: bytes) -> None:
    data_files = [add_photos(choice.output, 0)]
    first = choice.choose(data_files)
    for name in ("classifier.npz", "model.json"):
        location = f"{choice.output}/models/{first.record['model_id']}/{name}"
        intact = Path(location).read_bytes()
        Path(location).write_bytes(damage)
        assert choice.choose(data_files).record["fitted_now"]
        assert Path(location).read_bytes() == intact


def test_without_two_labels_there_is_none_and_the_reason_is_given(choice: Choice) -> None:
    choice.choose([add_photos(choice.output, 0)])
    chosen = choice.choose([add_photos(choice.output, 1, labels=LABELS[:1])])
    assert chosen.classifier is None
    assert chosen.record == {"reason": "a classifier needs two labels, and there are 1"}
    assert saved_classifier.load(choice.output) is None
    assert list(store.list_files(f"{choice.output}/models")) == []
    empty = choice.choose([])
    assert empty.record == {"reason": "a classifier needs two labels, and there are 0"}


def test_confusions_are_a_table_without_formulas() -> None:
    confusions = Counter({("=1+1", "Kiwi"): 2, ("Kiwi", "Kiwi"): 5, ("Kiwi", "=1+1"): 1})
    rows = list(csv.reader(io.StringIO(confusion_csv(confusions).decode())))
    assert rows == [
        ["label", "predicted", "photos"],
        ["'=1+1", "Kiwi", "2"],
        ["Kiwi", "'=1+1", "1"],
        ["Kiwi", "Kiwi", "5"],
    ]


def test_the_pointer_to_a_deleted_classifier_counts_as_none(choice: Choice) -> None:
    pointer = {"classifier_id": "lda-4-gone", "classified": "all"}
    store.write_bytes(f"{choice.output}/{layout.CURRENT_CLASSIFIER}", json.dumps(pointer).encode())
    assert saved_classifier.load(choice.output) is None
    assert saved_classifier.load_record(choice.output) == {}
    assert classifier_refit.LIMITS
