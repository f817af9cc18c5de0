"""The classifier and its predictions, over runs and the commands that change a table."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from job.cli.log import Log
from job.commands import compact, erase
from job.commands.selection import Selection
from job.errors import DataError
from job.model import classifier_refit, saved_classifier
from job.storage import store
from job.table import files, layout, sweep
from tests.support import outputs, tables
from tests.support.fruit_tables import assert_same_classifiers
from tests.support.outputs import Output, run


def predicted_files(output: Output) -> set[str]:
    """Return the files of all predictions, below the output."""
    found = store.list_files(f"{output.location}/{layout.PREDICTIONS}")
    return {name.removeprefix(f"{output.location}/") for name, _ in found}


def expected_files(output: Output, photos: str) -> set[str]:
    model_id = sweep.current_classifier_id(output.location)
    featurized = tables.snapshot(output.location).files_of(layout.FEATURIZED)
    return {layout.predictions_path(file.path, model_id, photos) for file in featurized}


def records(output: Output) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(Path(output.location, "runs").glob("*.json"))]


def erase_photos(output: Output, paths: list[str]) -> dict[str, Any]:
    log = Log("an erasure", out=io.StringIO(), err=io.StringIO())
    return erase.run(output.location, Selection(frozenset(paths)), "a letter", log)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_run_records_the_classifier_and_its_scores(output: Output) -> None:
    record = records(output)[-1]["classifier"]
    assert record["model_id"] == sweep.current_classifier_id(output.location)
    assert record["fitted_on"] == "Training"
    assert 0 <= record["test"]["label_accuracy"] <= 1
    assert Path(output.location, record["confusion"]).read_text().startswith('"label","predicted","photos"')
    assert record["predictions"] is None
    assert predicted_files(output) == set()


def test_predictions_are_those_of_the_current_files_and_classifier(output: Output) -> None:
    record = run(output, "--classify", "all")
    assert record["classifier"]["predictions"] == "all"
    assert predicted_files(output) == expected_files(output, "all")
    rows = [
        row
        for name in predicted_files(output)
        for row in files.read(f"{output.location}/{name}")["path"].to_pylist()
    ]
    assert sorted(rows) == sorted(row["path"] for row in outputs.rows_of(output.location, layout.FEATURIZED))
    run(output, "--classify", "unlabelled")
    assert predicted_files(output) == expected_files(output, "unlabelled")
    run(output)
    assert predicted_files(output) == set()


def test_compaction_keeps_the_predictions_whole(output: Output) -> None:
    run(output, "--classify", "all")
    model_id = sweep.current_classifier_id(output.location)
    log = Log("a compaction", out=io.StringIO(), err=io.StringIO())
    counts = compact.run(output.location, log)
    assert counts["files_after"]["featurized"] < counts["files_before"]["featurized"]
    assert predicted_files(output) == expected_files(output, "all")
    record = run(output, "--classify", "all")
    assert record["classifier"]["model_id"] == model_id
    assert not record["classifier"]["fitted_now"]


def test_an_erasure_deletes_the_classifier_and_the_next_run_makes_that_of_the_rest(
    output: Output, tmp_path: Path
) -> None:
    run(output, "--classify", "all")
    erased = output.good[:3]
    result = erase_photos(output, erased)
    assert "classifier: deleted" in erase.summary(result)
    assert saved_classifier.load(output.location) is None
    assert predicted_files(output) == set()
    assert not [name for name, _ in store.list_files(f"{output.location}/models") if "lda-" in name]
    after = run(output, "--prune", "--max-pruned", "1", gone=erased)
    other = replace(output, location=str(tmp_path / "other"))
    at_once = run(other, gone=erased)
    assert after["classifier"]["photos"] == at_once["classifier"]["photos"]
    assert_same_classifiers(saved_classifier.load(output.location), saved_classifier.load(other.location))


def test_every_erasure_deletes_what_may_tell_of_one_photo(output: Output) -> None:
    run(output, "--classify", "all")
    erase_photos(output, output.bad[:1])
    assert saved_classifier.load(output.location) is None
    assert predicted_files(output) == set()
    assert not list(Path(output.location, "runs").glob("*.csv")), "how photos were classified"


def test_an_interrupted_run_before_an_erasure_leaves_no_classifier_of_erased_photos(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = output.good[3]
    with monkeypatch.context() as patch:
        patch.setattr(classifier_refit, "choose_classifier", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(output, "--prune", gone=[gone])
    assert saved_classifier.load(output.location) is not None
    assert erase_photos(output, [gone])["rows"]["featurized"] == 0, "the run has taken it out"
    assert saved_classifier.load(output.location) is None


def test_moments_of_another_version_do_not_outlive_an_erasure(output: Output) -> None:
    moments = Path(output.location, "moments", "moments.npz")
    moments.write_bytes(b"of an earlier version")
    result = erase_photos(output, output.good[:1])
    assert "moments: none are kept: the next run sums them up" in erase.summary(result)
    assert not moments.exists()


def test_an_overwritten_output_has_no_old_classifier(output: Output, tmp_path: Path) -> None:
    run(output, "--classify", "all")
    old = sweep.current_classifier_id(output.location)
    other = outputs.photos(tmp_path / "others", 40)
    changed = Output(output.location, other, [], [], {}, [], [])
    run(changed, "--overwrite")
    assert sweep.current_classifier_id(output.location) != old
    assert not Path(output.location, "models", old).exists()
    assert predicted_files(output) == set()


def test_a_table_of_one_label_has_no_classifier_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs.quick(monkeypatch)
    folder = tmp_path / "photos" / "Kiwi"
    folder.mkdir(parents=True)
    for number in range(20):
        (folder / f"{number}.jpg").write_bytes(b"photo %d" % number)
    output = Output(str(tmp_path / "out"), str(folder.parent), [], [], {}, [], [])
    record = run(output, "--classify", "all")
    assert record["classifier"] == {
        "reason": "a classifier needs two labels, and there are 1",
        "predictions": None,
    }


def test_the_pca_can_be_fitted_on_training_alone(output: Output) -> None:
    record = run(output, "--fit-on", "training", "--refit", "auto")
    assert record["model"]["fitted_now"]
    assert record["model"]["fitted_on"] == "training"
    model = json.loads(Path(output.location, "models", record["model"]["model_id"], "model.json").read_text())
    training = [
        row for row in outputs.rows_of(output.location, layout.FEATURIZED) if row["split"] == "Training"
    ]
    assert model["n"] == len(training) < record["counts"]["rows"]
    assert record["model"]["rows_projected"] == record["counts"]["rows"], "all photos are projected"
    assert run(output, "--fit-on", "training", "--refit", "auto")["model"]["fitted_now"] is False


def test_without_training_photos_the_pca_cannot_be_fitted_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs.quick(monkeypatch)
    (tmp_path / "photos" / "Kiwi").mkdir(parents=True)
    for number in range(4):
        (tmp_path / "photos" / "Kiwi" / f"{number}.jpg").write_bytes(b"photo %d" % number)
    output = Output(str(tmp_path / "out"), str(tmp_path / "photos"), [], [], {}, [], [])
    with pytest.raises(DataError, match="--fit-on training: no photo is in a folder Training"):
        run(output, "--fit-on", "training")
