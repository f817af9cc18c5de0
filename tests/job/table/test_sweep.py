"""What leaves a table leaves the disk, too: photos, and every file that the table does not lead to."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from job.storage import store
from job.table import commits, files, layout, removal, takeover
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
    """Return the files of an output but for its log."""
    there = {name.removeprefix(f"{output}/") for name, _ in store.list_files(output)}
    return there | {
        name.removeprefix(f"{output}/") for name, _ in store.list_files(f"{output}/{layout.TASKS}")
    }


def test_what_the_table_does_not_lead_to_is_deleted_and_all_else_stays(output: str) -> None:
    [good] = make(output, A).files_of(FEATURIZED)
    stay = {layout.CURRENT_MODEL, f"photos/{good.path}", *layout.matrix_paths(good.path, "pca-2")}
    stay |= {f"{name}/x" for name in ("models/pca-1", "runs", "moments", "erasures", "mine")} | {"x.csv"}
    gone = {f"photos/{layout.data_path(outcome, 9, 0, 0)}" for outcome in (FEATURIZED, REJECTED)}
    gone |= {*layout.matrix_paths(good.path, "pca-1"), *layout.matrix_paths(f"{good.path}x", "pca-2")}
    gone |= {"pca/part-0.earlier.parquet", f"{layout.TASKS}/8/part-00000.parquet", "photos/of-nobody.txt"}
    for name in (stay | gone) - {f"photos/{good.path}"}:
        store.write_bytes(f"{output}/{name}", b'{"model_id": "pca-2"}')
    assert names(output) == stay | gone
    with writing(output):
        pass
    assert names(output) == stay
    assert photos(output) == [A]


def test_drafts_and_folders_that_are_empty_then_are_removed(tmp_path: Path) -> None:
    output = str(tmp_path)
    make(output, A, BAD)
    folders = (*layout.FOLDERS, LOG, "pca/model_id=pca-1", "photos/outcome=rejected")
    drafts = [tmp_path / folder / f".0123{store.DRAFT}" for folder in folders]
    others = [tmp_path / "photos/.mine", tmp_path / "mine" / drafts[0].name, tmp_path / "mine/empty/x"]
    for path in [*drafts, *others]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    others.pop().unlink()
    with writing(output) as own:
        own.commit(remove=[file.path for file in own.snapshot.files_of(REJECTED)])
    assert not [path for path in drafts if path.exists()]
    assert all(path.exists() for path in others)
    left = {str(path.relative_to(output)) for path in tmp_path.rglob("*") if path.is_dir()}
    assert left == {"photos", LOG, "photos/outcome=featurized", "mine", "mine/empty"}


@pytest.mark.parametrize(("hours_ago", "stays"), [(0, True), (23, True), (25, False)])
def test_files_that_were_removed_lately_stay_for_readers_of_older_versions(
    output: str, monkeypatch: pytest.MonkeyPatch, hours_ago: int, stays: bool
) -> None:
    [old] = make(output, A, B).files
    now = commits._now()
    with monkeypatch.context() as patch, writing(output, keep_hours=24) as own:
        patch.setattr(commits, "_now", lambda: now - hours_ago * HOUR)
        own.commit([written(output, own.number, A)], [old])
        patch.setattr(commits, "_now", lambda: now)
        commits.write_checkpoint(output)
    assert unnamed(output) == ({files.location(output, old)} if stays else set())
    with writing(output, keep_hours=24):
        written(output, 9, C)
    assert unnamed(output) == ({files.location(output, old)} if stays else set()), "and nothing else"
    with writing(output):
        pass
    assert unnamed(output) == set()


def test_what_a_broken_off_erasure_has_removed_is_not_kept_for_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path)
    make(output, A, B)
    with writing(output, keep_hours=24) as own:  # a changed photo: the erased one's row is in two files then
        removal.remove_photos(own, {file: [A] for file in own.snapshot.files})
    assert len(unnamed(output)) == 1
    monkeypatch.setattr(takeover, "WATCH_SECONDS", 0)
    erasing = Writer(output, "e-1", "erase")
    erasing.begin(first_actions(output), lambda _: None)
    make_extra = written(output, erasing.number, C)
    erasing.commit([make_extra])
    removal.remove_photos(erasing, {file: [B] for file in erasing.snapshot.files})
    erasing._stop.set()
    with writing(output, keep_hours=24):
        pass
    assert photos(output) == [C]
    assert unnamed(output) == set()


def test_photos_leave_by_one_commit_and_all_others_stay(output: str) -> None:
    make(output, A, B, BAD)
    with writing(output) as own:
        own.commit([written(output, own.number, C)])
        by_photo = {
            path: file.path for file in own.snapshot.files.values() for path in read(output, file.path)
        }
        version = own.snapshot.version
        assert removal.remove_photos(own, {}) == {}
        replaced = removal.remove_photos(own, {by_photo[A]: [A, "/photos/unknown.jpg"], by_photo[BAD]: [BAD]})
        assert own.snapshot.version == snapshot(output).version == version + 1
        assert replaced.keys() == {by_photo[A], by_photo[BAD]}
        assert replaced[by_photo[BAD]] is None
        made = replaced[by_photo[A]]
        assert made is not None
        assert (made.outcome, made.rows, read(output, made.path)) == (FEATURIZED, 1, [B])
        assert own.snapshot.files == snapshot(output).files
        assert photos(output) == [B, C]
    assert unnamed(output) == set()
    assert files.read(files.location(output, made.path)).equals(rows(B))
    removed = [action["remove"] for action in actions(output, version + 1) if "remove" in action]
    assert {one["path"] for one in removed} == replaced.keys()
    assert all(one["dataChange"] for one in removed)


def read(output: str, file: str) -> list[str]:
    """Return the photos of a file."""
    paths: list[str] = files.read(files.location(output, file), ["path"])["path"].to_pylist()
    return paths


def test_a_file_is_written_in_order_of_its_paths_and_read_in_parts(output: str) -> None:
    many = [f"/photos/Apple/{number:04}.jpg" for number in range(1500)]
    file = files.write(output, layout.data_path(FEATURIZED, 1, 0, 0), rows(*reversed(many)))
    place = files.location(output, file.path)
    assert (file.rows, file.bytes) == (1500, len(store.read_bytes(place)))
    assert files.read(place).equals(rows(*many))
    batches = list(files.batches([place, place], ["path", "features"]))
    assert max(map(len, batches)) <= files.ROWS_PER_READ
    assert pa.Table.from_batches(batches)["path"].to_pylist() == 2 * many
    matrix = files.matrix(batches[0].column(1), 2)
    assert matrix.tolist() == batches[0].column(1).to_pylist()
    assert files.vectors(matrix).equals(batches[0].column(1).cast(files.vectors(matrix).type))
    left = files.rows_without(place, [*many[1:], "/photos/unknown.jpg"])
    assert left.equals(rows(many[0]))


def test_names_are_in_the_order_in_which_files_came_and_never_come_twice() -> None:
    names = [
        layout.data_path(FEATURIZED, command, task, part)
        for command in (1, 2, 10, 999_999)
        for task in (0, 9, 10, 999_999)
        for part in (0, 1, 10)
    ]
    assert names == sorted(names)
    assert len({layout.data_path(FEATURIZED, 1, 1, 1) for _ in range(100)}) == 100
