"""The sweep: rows and files that the table does not name any more are deleted from the disk."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from job.storage import store
from job.table import commits, files, layout, path_lists, removal, takeover
from job.table.layout import FEATURIZED, REJECTED
from job.table.writer import Writer
from tests.support.chaos_s3 import BUCKET, chaos
from tests.support.tables import (
    BAD,
    LOG,
    A,
    B,
    C,
    actions,
    first_actions,
    make,
    photos,
    rows,
    snapshot,
    unnamed,
    writing,
    written,
)

HOUR: Final = 3_600_000


@pytest.fixture(params=["folder", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return an output that does not exist yet."""
    if request.param == "folder":
        yield str(tmp_path / "out")
        return
    with chaos(request.getfixturevalue("aws_environment")):
        yield f"s3://{BUCKET}/out"


def names(output: str) -> set[str]:
    """Return the names of an output's files, without its log."""
    existing = {name.removeprefix(f"{output}/") for name, _ in store.list_files(output)}
    return existing | {
        name.removeprefix(f"{output}/") for name, _ in store.list_files(f"{output}/{layout.TASKS}")
    }


def test_files_that_the_table_does_not_name_are_deleted_and_others_stay(output: str) -> None:
    [good] = make(output, A).files_of(FEATURIZED)
    pointers = json.dumps({"model_id": "pca-2", "classifier_id": "lda-2", "classified": "all"}).encode()
    kept = {layout.CURRENT_MODEL, f"photos/{good.path}", *layout.matrix_paths(good.path, "pca-2")}
    kept |= {f"{name}/x" for name in ("models/pca-1", "runs", "moments", "erasures", "foreign")} | {"x.csv"}
    kept |= {layout.CURRENT_CLASSIFIER, layout.predictions_path(good.path, "lda-2", "all"), "predictions/x"}
    deleted = {f"photos/{layout.data_path(outcome, 9, 0, 0)}" for outcome in (FEATURIZED, REJECTED)}
    deleted |= {*layout.matrix_paths(good.path, "pca-1"), *layout.matrix_paths(f"{good.path}x", "pca-2")}
    deleted |= {layout.predictions_path(good.path, "lda-1", "all")}
    deleted |= {layout.predictions_path(good.path, "lda-2", "unlabelled")}
    deleted |= {layout.predictions_path(f"{good.path}x", "lda-2", "all")}
    deleted |= {"pca/part-0.earlier.parquet", f"{layout.TASKS}/8/part-00000.parquet", "photos/of-nobody.txt"}
    for name in (kept | deleted) - {f"photos/{good.path}"}:
        store.write_bytes(f"{output}/{name}", pointers)
    assert names(output) == kept | deleted
    with writing(output):
        pass
    assert names(output) == kept
    assert photos(output) == [A]


def test_a_list_is_read_beside_other_files_which_stay(tmp_path: Path) -> None:
    output = str(tmp_path)
    make(output, A)
    for name in ("notes.parquet", "sub/999999999.parquet"):
        store.write_bytes(f"{output}/skipped/{name}", b"somebody's")
    listed = pa.record_batch([["/b.txt"], [".txt"]], names=["path", "kind"])
    for _ in range(2):
        with writing(output) as run:
            path_lists.write(run, layout.SKIPPED, [listed])
    assert path_lists.read(output, layout.SKIPPED)["path"].to_pylist() == ["/b.txt"]
    lists = (tmp_path / "skipped").rglob("*.parquet")
    assert sorted(file.name for file in lists) == ["000000003.parquet", "999999999.parquet", "notes.parquet"]


def test_drafts_and_folders_that_become_empty_are_removed(tmp_path: Path) -> None:
    output = str(tmp_path)
    make(output, A, BAD)
    folders = (*layout.FOLDERS, LOG, "pca/model_id=pca-1", "photos/outcome=rejected")
    drafts = [tmp_path / folder / f".0123{store.DRAFT}" for folder in folders]
    others = [
        tmp_path / "photos/.foreign",
        tmp_path / "foreign" / drafts[0].name,
        tmp_path / "foreign/empty/x",
    ]
    for path in [*drafts, *others]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    others.pop().unlink()
    with writing(output) as run:
        run.commit(remove=[file.path for file in run.snapshot.files_of(REJECTED)])
    assert not [path for path in drafts if path.exists()]
    assert all(path.exists() for path in others)
    remaining = {str(path.relative_to(output)) for path in tmp_path.rglob("*") if path.is_dir()}
    assert remaining == {"photos", LOG, "photos/outcome=featurized", "foreign", "foreign/empty"}


@pytest.mark.parametrize(("hours_ago", "stays"), [(0, True), (23, True), (25, False)])
def test_recently_removed_files_are_kept_for_readers_of_older_versions(
    output: str, monkeypatch: pytest.MonkeyPatch, hours_ago: int, stays: bool
) -> None:
    [old] = make(output, A, B).files
    now = commits._now()
    with monkeypatch.context() as patch, writing(output, keep_hours=24) as run:
        patch.setattr(commits, "_now", lambda: now - hours_ago * HOUR)
        run.commit([written(output, run.number, A)], [old])
        patch.setattr(commits, "_now", lambda: now)
        commits.write_checkpoint(output)
    assert unnamed(output) == ({files.location(output, old)} if stays else set())
    with writing(output, keep_hours=24):
        written(output, 9, C)
    assert unnamed(output) == ({files.location(output, old)} if stays else set()), "only that file"
    with writing(output):
        pass
    assert unnamed(output) == set()


def test_files_that_an_interrupted_erasure_removed_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path)
    make(output, A, B)
    with writing(output, keep_hours=24) as run:  # keeps the replaced files
        removal.remove_photos(run, {file: [A] for file in run.snapshot.files})
    assert len(unnamed(output)) == 1
    monkeypatch.setattr(takeover, "WATCH_SECONDS", 0)
    erasure = Writer(output, "e-1", "erase")
    erasure.begin(first_actions(output), lambda _: None)
    extra = written(output, erasure.number, C)
    erasure.commit([extra])
    removal.remove_photos(erasure, {file: [B] for file in erasure.snapshot.files})
    erasure._stop.set()
    with writing(output, keep_hours=24):
        pass
    assert photos(output) == [C]
    assert unnamed(output) == set()


def test_photos_are_removed_in_one_commit_and_others_stay(output: str) -> None:
    make(output, A, B, BAD)
    with writing(output) as run:
        run.commit([written(output, run.number, C)])
        file_of = {
            path: file.path for file in run.snapshot.files.values() for path in read(output, file.path)
        }
        version = run.snapshot.version
        assert removal.remove_photos(run, {}) == {}
        replaced = removal.remove_photos(run, {file_of[A]: [A, "/photos/unknown.jpg"], file_of[BAD]: [BAD]})
        assert run.snapshot.version == snapshot(output).version == version + 1
        assert replaced.keys() == {file_of[A], file_of[BAD]}
        assert replaced[file_of[BAD]] is None
        rewritten = replaced[file_of[A]]
        assert rewritten is not None
        assert (rewritten.outcome, rewritten.rows, read(output, rewritten.path)) == (FEATURIZED, 1, [B])
        assert run.snapshot.files == snapshot(output).files
        assert photos(output) == [B, C]
    assert unnamed(output) == set()
    assert files.read(files.location(output, rewritten.path)).equals(rows(B))
    removed = [action["remove"] for action in actions(output, version + 1) if "remove" in action]
    assert {action["path"] for action in removed} == replaced.keys()
    assert all(action["dataChange"] for action in removed)


def read(output: str, file: str) -> list[str]:
    """Return the photos of a file."""
    paths: list[str] = files.read(files.location(output, file), ["path"])["path"].to_pylist()
    return paths


def test_a_file_is_written_in_order_of_its_paths_and_read_in_batches(output: str) -> None:
    paths = [f"/photos/Apple/{number:04}.jpg" for number in range(1500)]
    file = files.write(output, layout.data_path(FEATURIZED, 1, 0, 0), rows(*reversed(paths)))
    location = files.location(output, file.path)
    assert (file.rows, file.bytes) == (1500, len(store.read_bytes(location)))
    assert files.read(location).equals(rows(*paths))
    batches = list(files.batches([location, location], ["path", "features"]))
    assert max(map(len, batches)) <= files.ROWS_PER_READ
    assert pa.Table.from_batches(batches)["path"].to_pylist() == 2 * paths
    matrix = files.matrix(batches[0].column(1), 2)
    assert matrix.tolist() == batches[0].column(1).to_pylist()
    assert files.vectors(matrix).equals(batches[0].column(1).cast(files.vectors(matrix).type))
    kept_rows = files.rows_without(location, [*paths[1:], "/photos/unknown.jpg"])
    assert kept_rows.equals(rows(paths[0]))


def test_names_of_data_files_are_in_order_of_their_creation_and_unique() -> None:
    names = [
        layout.data_path(FEATURIZED, command, task, part)
        for command in (1, 2, 10, 999_999)
        for task in (0, 9, 10, 999_999)
        for part in (0, 1, 10)
    ]
    assert names == sorted(names)
    assert len({layout.data_path(FEATURIZED, 1, 1, 1) for _ in range(100)}) == 100
