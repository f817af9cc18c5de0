"""Erasing photos: the output is as if they had never been there, and no file holds a trace of them."""

import csv
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from job.cli.log import Log
from job.commands import erase
from job.commands.selection import Selection
from job.model import incremental_moments, saved_model
from job.storage import s3, store
from job.table import layout, path_lists, schema, sweep
from tests.support import outputs, tables
from tests.support.outputs import Output, assert_same_moments, make, matrix_of, moments_of, photos, rows_of
from tests.support.tables import tree

LOG = Log("erasure-1", out=io.StringIO(), err=io.StringIO())
RECORD = f"{layout.ERASURES}/erasure-1.json"


def run_erase(
    output: Output, *, dry_run: bool = False, erasure_id: str = "erasure-1", **selected: Any
) -> dict[str, Any]:
    selection = Selection(
        **{name: type(getattr(Selection(), name))(values) for name, values in selected.items()}
    )
    return erase.run(output.location, selection, "request 17", replace(LOG, run_id=erasure_id), dry_run)


def contents(folder: str) -> Iterator[tuple[Path, bytes]]:
    """Yield the bytes of each file of an output, and its unpacked content."""
    for file in sorted(Path(folder).rglob("*")):
        if not file.is_file():
            continue
        yield file, str(file).encode() + file.read_bytes()
        if file.suffix == ".parquet":
            parquet = pq.ParquetFile(file)
            yield file, f"{parquet.read().to_pylist()!r} {parquet.metadata.to_dict()!r}".encode()
        if file.suffix == ".npz":
            with zipfile.ZipFile(file) as members:
                yield from ((file, members.read(name)) for name in members.namelist())


def traces_of(output: Output, paths: list[str]) -> list[tuple[str, str]]:
    """Return the files of an output that hold a path, a file's name or a hash of some photos."""
    identifiers = [*paths, *(Path(path).name for path in paths), *(output.sha256[path] for path in paths)]
    return [
        (str(file), identifier)
        for file, data in contents(output.location)
        for identifier in identifiers
        if identifier.encode() in data
    ]


def missing(output: Output) -> list[str]:
    """Return the photos that the last run did not list."""
    paths: list[str] = path_lists.read(output.location, layout.MISSING)["path"].to_pylist()
    return paths


def assert_derived(location: str) -> None:
    """Check that moments and matrix match the table."""
    featurized = tables.snapshot(location).files_of(layout.FEATURIZED)
    saved, moments = incremental_moments.load(location), moments_of(location)
    assert saved is not None
    assert saved.files == {file.path: file.rows for file in featurized}
    assert_same_moments(saved.moments, moments)
    model_id = sweep.current_model_id(location)
    expected_files = {name for file in featurized for name in layout.matrix_paths(file.path, model_id)}
    existing = [
        name for folder in layout.DERIVED for name, _ in store.list_files(store.join(location, folder))
    ]
    assert {name.removeprefix(f"{location}/") for name in existing} == expected_files
    model, _ = saved_model.load(location, model_id) or pytest.fail("the model is gone")
    rows, (matrix_rows, lines) = rows_of(location, layout.FEATURIZED), matrix_of(location)
    names = [[row[name] for name in schema.PCA.names[:3]] for row in rows]
    assert [[row[name] for name in schema.PCA.names[:3]] for row in matrix_rows] == names
    for row, matrix_row in zip(rows, matrix_rows, strict=True):
        projected = model.project(np.asarray([row["features"]], np.float32))[0]
        np.testing.assert_allclose(matrix_row["pca"], projected, rtol=1e-5, atol=1e-5)
    parsed = list(csv.reader(line.decode() for line in lines))
    assert [line[:3] for line in parsed] == names
    written = np.array([line[3:] for line in parsed], np.float32)
    np.testing.assert_array_equal(written, np.array([row["pca"] for row in matrix_rows], np.float32))


def assert_whole_without(output: Output, erased: list[str]) -> None:
    """Check that an output is what it would be without some photos, and that no other file is left."""
    snapshot = tables.snapshot(output.location)
    assert snapshot.writer == snapshot.ended
    assert traces_of(output, erased) == []
    assert sweep.unreferenced(output.location, sweep.candidates(output.location), snapshot) == []
    rows = rows_of(output.location, layout.FEATURIZED)
    assert [row["path"] for row in rows] == [path for path in output.good if path not in erased]
    assert all(row["features"] == outputs.features_of(row["path"]).tolist() for row in rows)
    rejected = [row["path"] for row in rows_of(output.location, layout.REJECTED)]
    assert rejected == [path for path in output.bad if path not in erased]
    assert missing(output) == [path for path in output.missing if path not in erased]
    assert_derived(output.location)
    record = outputs.run(output, gone=erased)
    assert record["counts"]["unchanged"] == record["counts"]["listed"]
    assert (record["cores"], record["model"]["rows_projected"]) == (None, 0), "the run has nothing to do"


def test_a_dry_run_changes_nothing_and_counts_the_rows_that_an_erasure_deletes(output: Output) -> None:
    by_hash = [*output.changed, *output.missing, output.bad[0]]
    selected: dict[str, Any] = {"prefixes": output.good[30:31], "paths": output.good[40:43]}
    erased = [*by_hash, *selected["prefixes"], *selected["paths"]]
    selected["sha256"] = [output.sha256[path] for path in by_hash]
    before = tree(output.location)
    planned = run_erase(output, dry_run=True, **selected)
    assert tree(output.location) == before
    assert erase.summary(planned) == (
        "would erase photos: 6 featurized, 1 rejected, 1 of those not listed any more"
    )
    summary = run_erase(output, **selected)
    assert summary["rows"] == planned["rows"]
    assert summary["photos"] == {"there": 6, "gone": 1, "unknown": 0}
    assert traces_of(output, output.good[9:10]), "the search for traces finds those of other photos"
    assert not any(run_erase(output, erasure_id="erasure-2", **selected)["rows"].values())
    assert_whole_without(output, erased)


def test_erased_photos_are_deleted_and_their_neighbours_stay_unchanged(output: Output) -> None:
    erased = [output.changed[0], output.missing[0], output.good[9], output.bad[0]]
    before = {name: rows_of(output.location, name) for name in (layout.FEATURIZED, layout.REJECTED)}
    _, lines = matrix_of(output.location)
    summary = run_erase(output, paths=erased)
    assert summary["rows"] == {
        "featurized": 3,
        "rejected": 1,
        "of those not listed any more": 1,
        "skipped files": 0,
    }
    for name, rows in before.items():
        assert rows_of(output.location, name) == [row for row in rows if row["path"] not in erased]
    remaining = [line for line in lines if not any(path.encode() in line for path in erased)]
    assert matrix_of(output.location)[1] == remaining, "the other lines are unchanged"
    assert_whole_without(output, erased)


def test_a_prefix_may_end_within_a_name(output: Output) -> None:
    part_of_a_name = output.good[0].rpartition("/")[0][:-1]
    erased = [path for path in [*output.good, *output.bad] if path.startswith(part_of_a_name)]
    assert 1 < len(erased) < len(output.good) / 2
    assert run_erase(output, prefixes=[part_of_a_name])["selected_by"] == ["prefix"]
    assert_whole_without(output, erased)


def test_a_prefix_selects_photos_whose_names_are_not_unicode() -> None:
    odd = [store.printable(os.fsdecode(f"/{folder}/".encode() + b"\xff")) for folder in ("in é", "out")]
    mask = Selection(prefixes=("/in é/",)).path_mask(pa.chunked_array([["/in é/a", "/in é", *odd]]))
    assert mask.to_pylist() == [True, False, True, False]


def test_an_erased_photo_leaves_the_list_of_missing_photos_and_others_stay(output: Output) -> None:
    lost = output.good[20:23]
    outputs.run(output, gone=lost)
    run_erase(output, paths=lost[1:2])
    assert {*missing(output)} == {lost[0], lost[2], *output.missing}
    assert traces_of(output, lost[1:2]) == []
    run_erase(output, paths=[lost[0], lost[2], *output.missing])
    assert missing(output) == []


def test_the_moments_are_recounted_if_most_rows_are_erased(output: Output) -> None:
    erased = output.good[:50]
    assert run_erase(output, paths=erased)["moments"] == "summed up anew"
    assert_whole_without(output, erased)


def test_all_photos_can_be_erased(output: Output) -> None:
    everything = [*output.good, *output.bad]
    assert run_erase(output, paths=everything)["rows"]["featurized"] == len(output.good)
    assert traces_of(output, everything) == []
    assert tables.snapshot(output.location).files == {}
    assert_derived(output.location)


def test_stray_files_that_hold_the_photo_are_deleted(output: Output) -> None:
    erased, folder = output.good[3], Path(output.location)
    unnamed = f"{layout.PHOTOS}/outcome=featurized/part-000009-000000-000-0123456789abcdef.parquet"
    others = [f"{layout.TASKS}/9/part-00000.parquet", f"{layout.PCA}/model_id=pca-9-other/part.parquet"]
    others += [f"{layout.PCA_CSV}/model_id=pca-9-other/part.csv"]
    drafts = [
        f"{name}/.0123456789abcdef.draft" for name in (".", *layout.FOLDERS, f"{layout.PHOTOS}/_delta_log")
    ]
    for name in (unnamed, *others, *drafts):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(erased)
    run_erase(output, paths=[erased])
    assert_whole_without(output, [erased])
    assert not (folder / layout.TASKS).exists()


def test_kept_versions_that_hold_the_photo_are_deleted(output: Output) -> None:
    erased = output.missing
    outputs.run(output, "--prune", "--max-pruned", "1", "--keep-versions", "24")
    assert len({file for file, _ in traces_of(output, erased)}) == 1
    assert not any(run_erase(output, paths=erased)["rows"].values()), "the run deleted its row"
    assert traces_of(output, erased) == []


def test_the_record_holds_requester_time_and_counts_but_no_photo(output: Output) -> None:
    run_erase(output, paths=[output.good[40], *output.missing])
    record = json.loads(Path(output.location, RECORD).read_text())
    at, version = record.pop("at"), record.pop("version")
    assert at.startswith("2")
    assert version
    assert record == {
        "erasure_id": "erasure-1",
        "requested_by": "request 17",
        "selected_by": ["path"],
        "rows": {"featurized": 2, "rejected": 0, "of those not listed any more": 1, "skipped files": 0},
        "files_replaced": 2,
        "moments": "brought up to date, exactly",
        "rows_projected_again": 12,
    }


def test_a_selection_without_photos_deletes_what_may_tell_of_one_and_changes_nothing_else(
    output: Output,
) -> None:
    before = tree(output.location)
    summary = run_erase(output, paths=["/nowhere/at-all.jpg"], sha256=["0" * 64])
    assert summary["deleted"] == ["report", "classifier"]
    assert erase.summary(summary).startswith("nothing found: no photo was erased\nmoments: unchanged\n")
    after = tree(output.location)
    added = {name for name in after.keys() - before.keys() if "_delta_log" not in name}
    assert added == {layout.ERASURES, RECORD}
    gone = before.keys() - after.keys()
    assert {layout.REPORT, layout.CURRENT_CLASSIFIER} < gone
    assert all(
        re.match("report.html|models/(current_classifier|lda-)|runs/.*[.]confusion[.]csv", name)
        for name in gone
    )
    assert {name: data for name, data in before.items() if name not in gone}.items() <= after.items()


def test_photos_of_other_paths_with_the_same_content_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs.quick(monkeypatch)
    source = photos(tmp_path / "photos", 32)
    original, *copies = sorted(str(file) for file in Path(source).rglob("*.jpg"))[4:7]
    for copy in copies:
        Path(copy).write_bytes(Path(original).read_bytes())
    output = make(str(tmp_path / "out"), source, cores=1, rejected=0)
    first = run_erase(output, paths=[original])
    assert first["same_content_left"] == 2
    sentence = "copies: 2 photos of other paths have the same content: --sha256 erases those"
    assert sentence in erase.summary(first)
    second = run_erase(output, sha256=[output.sha256[original]])
    assert (second["rows"]["featurized"], second["same_content_left"]) == (2, 0)
    assert_whole_without(output, [original, *copies])


def test_in_s3_no_object_holds_a_trace(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs.quick(monkeypatch)
    output = make(f"s3://{bucket}/some/out", photos(tmp_path / "photos", 32), cores=1)
    erased = [output.good[3], output.bad[0], *output.missing]

    def traces() -> list[tuple[str, str]]:
        copy = tmp_path / "copy"
        store.delete_tree(str(copy))
        for location, *_ in s3.list_objects(f"s3://{bucket}"):
            store.write_bytes(f"{copy}/{location.removeprefix('s3://')}", store.read_bytes(location))
        return traces_of(replace(output, location=str(copy)), erased)

    assert traces()
    run_erase(output, sha256=[output.sha256[path] for path in erased])
    assert traces() == []
    assert_derived(output.location)
