"""Erasing photos from an output: as if they had never been there, and no trace of them anywhere."""

import csv
import io
import json
import os
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
from tests.support.outputs import Output, make, matrix_of, moments_of, photos, rows_of
from tests.support.tables import tree

LOG = Log("erasure-1", out=io.StringIO(), err=io.StringIO())
RECORD = f"{layout.ERASURES}/erasure-1.json"


def do(
    made: Output, *, dry_run: bool = False, erasure_id: str = "erasure-1", **chosen: Any
) -> dict[str, Any]:
    selection = Selection(**{name: type(getattr(Selection(), name))(some) for name, some in chosen.items()})
    return erase.run(made.location, selection, "request 17", replace(LOG, run_id=erasure_id), dry_run)


def contents(folder: str) -> Iterator[tuple[Path, bytes]]:
    """Yield what each file of an output holds: its bytes, and what they are when they are unpacked."""
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


def traces_of(made: Output, paths: list[str]) -> list[tuple[str, str]]:
    """Return the files of an output that hold a path, a file's name or a hash of some photos."""
    wanted = [*paths, *(Path(path).name for path in paths), *(made.sha256[path] for path in paths)]
    return [
        (str(file), one) for file, data in contents(made.location) for one in wanted if one.encode() in data
    ]


def missing(made: Output) -> list[str]:
    """Return the photos that the last run did not find."""
    paths: list[str] = path_lists.read(made.location, layout.MISSING)["path"].to_pylist()
    return paths


def assert_derived(location: str) -> None:
    """See to it that moments and matrix are of the table's files, and are what these make."""
    featurized = tables.snapshot(location).files_of(layout.FEATURIZED)
    kept, whole = incremental_moments.load(location), moments_of(location)
    assert kept is not None
    assert kept.files == {file.path: file.rows for file in featurized}
    assert kept.moments.n == whole.n
    np.testing.assert_allclose(kept.moments.mean, whole.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kept.moments.scatter, whole.scatter, rtol=1e-9, atol=1e-9)
    model_id = sweep.current_model_id(location)
    wanted = {name for file in featurized for name in layout.matrix_paths(file.path, model_id)}
    there = [name for folder in sweep.DERIVED for name, _ in store.list_files(store.join(location, folder))]
    assert {name.removeprefix(f"{location}/") for name in there} == wanted
    model, _ = saved_model.load(location, model_id) or pytest.fail("the model is gone")
    rows, (reduced, lines) = rows_of(location, layout.FEATURIZED), matrix_of(location)
    names = [[row[name] for name in schema.PCA.names[:3]] for row in rows]
    assert [[row[name] for name in schema.PCA.names[:3]] for row in reduced] == names
    for row, numbers in zip(rows, reduced, strict=True):
        projected = model.project(np.asarray([row["features"]], np.float32))[0]
        np.testing.assert_allclose(numbers["pca"], projected, rtol=1e-5, atol=1e-5)
    parsed = list(csv.reader(line.decode() for line in lines))
    assert [line[:3] for line in parsed] == names
    written = np.array([line[3:] for line in parsed], np.float32)
    np.testing.assert_array_equal(written, np.array([row["pca"] for row in reduced], np.float32))


def assert_right(made: Output, gone: list[str]) -> None:
    """See to it that an output is what it would be without some photos, and holds nothing else."""
    snapshot = tables.snapshot(made.location)
    assert snapshot.writer == snapshot.ended
    assert traces_of(made, gone) == []
    assert sweep.unreferenced(made.location, sweep.candidates(made.location), snapshot) == []
    rows = rows_of(made.location, layout.FEATURIZED)
    assert [row["path"] for row in rows] == [path for path in made.good if path not in gone]
    assert all(row["features"] == outputs.features_of(row["path"]).tolist() for row in rows)
    rejected = [row["path"] for row in rows_of(made.location, layout.REJECTED)]
    assert rejected == [path for path in made.bad if path not in gone]
    assert missing(made) == [path for path in made.missing if path not in gone]
    assert_derived(made.location)
    record = outputs.run(made, gone=gone)
    assert record["counts"]["unchanged"] == record["counts"]["listed"]
    assert (record["cores"], record["model"]["rows_projected"]) == (None, 0), "the run has nothing to do"


def test_a_rehearsal_changes_nothing_and_tells_what_goes_however_it_is_selected(output: Output) -> None:
    by_hash = [*output.changed, *output.missing, output.bad[0]]
    chosen: dict[str, Any] = {"prefixes": output.good[30:31], "paths": output.good[40:43]}
    gone = [*by_hash, *chosen["prefixes"], *chosen["paths"]]
    chosen["sha256"] = [output.sha256[path] for path in by_hash]
    before = tree(output.location)
    rehearsed = do(output, dry_run=True, **chosen)
    assert tree(output.location) == before
    assert erase.summary(rehearsed) == (
        "would erase photos: 6 featurized, 1 rejected, 1 of those not listed any more"
    )
    done = do(output, **chosen)
    assert done["rows"] == rehearsed["rows"]
    assert done["photos"] == {"there": 6, "gone": 1, "unknown": 0}
    assert traces_of(output, output.good[9:10]), "the search finds what is there"
    assert not any(do(output, erasure_id="erasure-2", **chosen)["rows"].values())
    assert_right(output, gone)


def test_the_photos_go_and_nothing_of_their_neighbours_changes(output: Output) -> None:
    gone = [output.changed[0], output.missing[0], output.good[9], output.bad[0]]
    before = {name: rows_of(output.location, name) for name in (layout.FEATURIZED, layout.REJECTED)}
    _, lines = matrix_of(output.location)
    done = do(output, paths=gone)
    assert done["rows"] == {
        "featurized": 3,
        "rejected": 1,
        "of those not listed any more": 1,
        "skipped files": 0,
    }
    for name, rows in before.items():
        assert rows_of(output.location, name) == [row for row in rows if row["path"] not in gone]
    left = [line for line in lines if not any(path.encode() in line for path in gone)]
    assert matrix_of(output.location)[1] == left, "not a byte of the other lines is changed"
    assert_right(output, gone)


def test_a_prefix_is_taken_letter_by_letter(output: Output) -> None:
    part_of_a_name = output.good[0].rpartition("/")[0][:-1]
    gone = [path for path in [*output.good, *output.bad] if path.startswith(part_of_a_name)]
    assert 1 < len(gone) < len(output.good) / 2
    assert do(output, prefixes=[part_of_a_name])["selected_by"] == ["prefix"]
    assert_right(output, gone)


def test_a_prefix_selects_photos_too_whose_names_no_table_can_hold() -> None:
    odd = [store.printable(os.fsdecode(f"/{folder}/".encode() + b"\xff")) for folder in ("in é", "out")]
    chosen = Selection(prefixes=("/in é/",)).path_mask(pa.chunked_array([["/in é/a", "/in é", *odd]]))
    assert chosen.to_pylist() == [True, False, True, False]


def test_a_photo_leaves_the_list_of_missing_ones_and_others_stay_there(output: Output) -> None:
    lost = output.good[20:23]
    outputs.run(output, gone=lost)
    do(output, paths=lost[1:2])
    assert {*missing(output)} == {lost[0], lost[2], *output.missing}
    assert traces_of(output, lost[1:2]) == []
    do(output, paths=[lost[0], lost[2], *output.missing])
    assert missing(output) == []


def test_the_moments_are_summed_up_anew_where_most_rows_go(output: Output) -> None:
    gone = output.good[:50]
    assert do(output, paths=gone)["moments"] == "summed up anew"
    assert_right(output, gone)


def test_all_photos_can_go(output: Output) -> None:
    everything = [*output.good, *output.bad]
    assert do(output, paths=everything)["rows"]["featurized"] == len(output.good)
    assert traces_of(output, everything) == []
    assert tables.snapshot(output.location).files == {}
    assert_derived(output.location)


def test_what_lies_about_in_an_output_and_holds_a_photo_goes_too(output: Output) -> None:
    gone, folder = output.good[3], Path(output.location)
    unnamed = f"{layout.PHOTOS}/outcome=featurized/part-000009-000000-000-0123456789abcdef.parquet"
    others = [f"{layout.TASKS}/9/part-00000.parquet", f"{layout.PCA}/model_id=pca-9-other/part.parquet"]
    others += [f"{layout.PCA_CSV}/model_id=pca-9-other/part.csv"]
    drafts = [f"{name}/.0123456789abcdef.draft" for name in (*layout.FOLDERS, f"{layout.PHOTOS}/_delta_log")]
    for name in (unnamed, *others, *drafts):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(gone)
    do(output, paths=[gone])
    assert_right(output, [gone])
    assert not (folder / layout.TASKS).exists()


def test_versions_that_a_run_has_kept_for_readers_go_with_the_photo(output: Output) -> None:
    gone = output.missing
    outputs.run(output, "--prune", "--max-pruned", "1", "--keep-versions", "24")
    assert len({file for file, _ in traces_of(output, gone)}) == 1
    assert not any(do(output, paths=gone)["rows"].values()), "its row has gone before"
    assert traces_of(output, gone) == []


def test_the_record_says_who_when_and_how_many_and_never_what(output: Output) -> None:
    do(output, paths=[output.good[40], *output.missing])
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


def test_nothing_found_is_said_and_recorded_and_changes_nothing_else(output: Output) -> None:
    before = tree(output.location)
    done = do(output, paths=["/nowhere/at-all.jpg"], sha256=["0" * 64])
    assert erase.summary(done).startswith("nothing found: no photo was erased\nmoments: unchanged\n")
    after = tree(output.location)
    new = {name for name in after.keys() - before.keys() if "_delta_log" not in name}
    assert new == {layout.ERASURES, RECORD}
    assert before.items() <= after.items()


def test_photos_of_other_paths_with_the_same_content_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs.quick(monkeypatch)
    source = photos(tmp_path / "photos", 32)
    one, *copies = sorted(str(file) for file in Path(source).rglob("*.jpg"))[4:7]
    for copy in copies:
        Path(copy).write_bytes(Path(one).read_bytes())
    made = make(str(tmp_path / "out"), source, cores=1, rejected=0)
    done = do(made, paths=[one])
    assert done["same_content_left"] == 2
    assert "copies: 2 photos of other paths have the same content: --sha256 erases those" in erase.summary(
        done
    )
    again = do(made, sha256=[made.sha256[one]])
    assert (again["rows"]["featurized"], again["same_content_left"]) == (2, 0)
    assert_right(made, [one, *copies])


def test_in_s3_no_object_holds_a_trace(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs.quick(monkeypatch)
    made = make(f"s3://{bucket}/some/out", photos(tmp_path / "photos", 32), cores=1)
    gone = [made.good[3], made.bad[0], *made.missing]

    def traces() -> list[tuple[str, str]]:
        copy = tmp_path / "copy"
        store.delete_tree(str(copy))
        for name, *_ in s3.list_objects(f"s3://{bucket}"):
            store.write_bytes(f"{copy}/{name.removeprefix('s3://')}", store.read_bytes(name))
        return traces_of(replace(made, location=str(copy)), gone)

    assert traces()
    do(made, sha256=[made.sha256[path] for path in gone])
    assert traces() == []
    assert_derived(made.location)
