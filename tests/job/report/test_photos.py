"""The photos of a report: what is read of them, and which are chosen from many."""

import numpy as np
import pyarrow as pa
import pytest

from job.model import saved_classifier, saved_model
from job.report import photos
from job.report.photos import Photos
from job.table import files, sweep
from tests.support import reports, tables
from tests.support.outputs import Output


def invented(labels: list[str], splits: list[str]) -> Photos:
    """Return photos of some labels and splits, the last of which is the most unusual."""
    count = len(labels)
    return Photos(
        paths=[f"/photos/{number:05}.jpg" for number in range(count)],
        labels=labels,
        splits=splits,
        sha256=[f"{number:064x}" for number in range(count)],
        bytes=[100] * count,
        scores=np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32),
        distance=np.arange(count, dtype=np.float64),
        plane=None,
        predictions=None,
    )


def read(output: Output) -> Photos:
    model, _ = saved_model.load(output.location, sweep.current_model_id(output.location)) or pytest.fail(
        "none"
    )
    classifier = saved_classifier.load(output.location)
    return photos.read(output.location, tables.snapshot(output.location), model, classifier)


def test_all_photos_are_read_in_order_with_what_the_models_say(reported: Output) -> None:
    shown = read(reported)
    assert shown.paths == sorted(reported.good)
    rows = np.array([reports.features_of(path) for path in shown.paths])
    model, _ = saved_model.load(reported.location, sweep.current_model_id(reported.location)) or pytest.fail()
    np.testing.assert_allclose(shown.scores, model.project(rows), rtol=1e-5, atol=1e-4)
    classifier = saved_classifier.load(reported.location) or pytest.fail("there is a classifier")
    assert shown.plane is not None
    np.testing.assert_allclose(shown.plane, classifier.plane(rows), rtol=1e-5, atol=1e-5)
    assert shown.predictions is not None
    named = [classifier.labels[number] for number in shown.predictions.labels[:, 0]]
    assert np.mean([name == label for name, label in zip(named, shown.labels, strict=True)]) > 0.9


def test_of_too_many_photos_some_files_are_read(reported: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    data_files = tables.snapshot(reported.location).files_of("featurized")
    assert len(data_files) > 1
    most = sum(file.rows for file in data_files) - 1
    monkeypatch.setattr(photos, "MOST_READ", most)
    shown = read(reported)
    assert 0 < len(shown) <= most
    assert set(shown.paths) < set(reported.good)


def test_a_sample_holds_all_that_is_kept_and_every_label_and_split_in_proportion() -> None:
    labels = ["Apple"] * 600 + ["Banana"] * 300 + ["Rare"] * 3
    splits = ["Training", "Test", "Training"] * 301
    shown = invented(labels, splits)
    chosen = photos.choose(shown, 100, kept=[7, 8, 902])
    assert len(chosen) == 100
    assert {7, 8, 902} <= set(chosen.tolist())
    assert sorted(chosen) == chosen.tolist()
    apples = sum(labels[number] == "Apple" for number in chosen)
    assert 60 <= apples <= 70
    assert {(labels[number], splits[number]) for number in chosen} == set(zip(labels, splits, strict=True))
    np.testing.assert_array_equal(chosen, photos.choose(shown, 100, kept=[7, 8, 902]))


def test_few_photos_are_all_chosen() -> None:
    assert photos.choose(invented(["Apple"] * 5, [""] * 5), 5).tolist() == [0, 1, 2, 3, 4]


def test_rejects_are_counted_by_reason_and_listed_up_to_a_bound(
    reported: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tables.snapshot(reported.location)
    rejects = photos.read_rejects(reported.location, snapshot)
    assert [row["path"] for row in rejects.rows] == sorted(reported.bad)
    assert {row["detail"] for row in rejects.rows} == {"the file ends too early"}
    assert rejects.reasons == {"truncated": 2}
    monkeypatch.setattr(photos, "MOST_REJECTS", 1)
    rejects = photos.read_rejects(reported.location, snapshot)
    assert (len(rejects.rows), rejects.total) == (1, 2)


def test_rejects_are_listed_in_order_of_their_paths_and_fewer_if_their_paths_are_long(
    reported: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {name: ["x"] * 3 for name in photos.REJECT_COLUMNS}
    parts = [["/e", "/b", "/a"], ["/d", "/f", "/c"]]
    batches = [pa.RecordBatch.from_pydict({**columns, "path": part}) for part in parts]
    monkeypatch.setattr(files, "batches", lambda *_: iter(batches))
    snapshot = tables.snapshot(reported.location)
    rejects = photos.read_rejects(reported.location, snapshot)
    assert [row["path"] for row in rejects.rows] == ["/a", "/b", "/c", "/d", "/e", "/f"]
    monkeypatch.setattr(photos, "MOST_REJECT_BYTES", 30)
    rejects = photos.read_rejects(reported.location, snapshot)
    assert [row["path"] for row in rejects.rows] == ["/a", "/b"]
    assert rejects.total == 6
