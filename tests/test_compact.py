"""Compaction: few files instead of many, and nothing else changes, whoever is killed wherever."""

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job import compact, coverage, journal, mend, store, tables
from job.compact import Compaction, Small, grouped
from job.errors import UsageError
from job.log import Log
from job.output import opened
from tests import outputs
from tests.outputs import Made, csv_rows, files_of, make, photos, rows_of
from tests.test_erase import Killed, assert_a_run_has_nothing_to_do, snapshot

TABLES = (store.FEATURES_TABLE, store.REJECTED_TABLE, store.PCA_TABLE)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(str(tmp_path / "out"), photos(tmp_path / "photos", 96), files=4)


def do(place: str, rows: int = compact.ROWS) -> dict[str, Any]:
    log = Log("compaction", out=io.StringIO(), err=io.StringIO())
    return compact.run(Compaction(place, rows), "20260104T060000Z-00000d", log)


def rows_in(place: str) -> dict[str, list[Any]]:
    return {**{name: rows_of(place, name) for name in TABLES}, "csv": csv_rows(place)}


def assert_same(place: str, before: dict[str, list[Any]], moments: Path | str) -> None:
    """See to it that an output holds the rows it held, in fewer files that moments and matrix are of."""
    assert rows_in(place) == before
    ours, theirs = coverage.load_sums(place), coverage.load_sums(str(moments))
    assert ours is not None
    assert theirs is not None
    assert ours.moments.scatter.tobytes() == theirs.moments.scatter.tobytes()
    now = mend.versions(place)
    assert ours.files == now
    matrix = coverage.load_matrix(place)
    sizes = {name: (now[name], len(table)) for name, table in files_of(place, "features").items()}
    assert matrix.files == sizes
    for name in now:
        for one in tables.matrix_names(name, matrix.model_id):
            assert (Path(place) / one).exists()
    assert not (Path(place) / "_compact").exists()


def test_many_files_become_one_of_each_table_and_a_run_has_nothing_to_do(made: Made, tmp_path: Path) -> None:
    untouched = outputs.copied(made, str(tmp_path / "untouched"))
    before = rows_in(made.location)
    many = len(files_of(made.location, "features"))
    bad = len(files_of(made.location, "rejected"))
    assert many > 4
    done = do(made.location)
    assert compact.summary(done) == (f"features: {many} files are 1 now\nrejected: {bad} files are 1 now")
    assert_same(made.location, before, untouched.location)
    for name in TABLES:
        ((_, table),) = files_of(made.location, name).items()
        paths = table["path"].to_pylist()
        assert paths == sorted(paths)
    assert_a_run_has_nothing_to_do(made)


def test_a_second_compaction_changes_nothing(made: Made) -> None:
    do(made.location, rows=30)
    before = snapshot(made.location)
    assert 1 < len(files_of(made.location, "features")) < 8
    done = do(made.location, rows=30)
    assert compact.summary(done) == "nothing to do: there are no small files to merge"
    assert snapshot(made.location) == before


def test_only_small_files_are_merged_with_their_neighbours_and_no_file_becomes_too_large() -> None:
    sizes = {"a": 4, "b": 5, "c": 4, "d": 4, "e": 1, "f": 4, "g": 0}
    files = [Small(name, rows, name, "v") for name, rows in sizes.items()]
    found = ["".join(one.name for one in group) for group in grouped(reversed(files), 10)]
    assert found == ["ac", "defg"]


def test_a_file_that_the_moments_are_not_of_is_left_to_the_next_run(made: Made) -> None:
    names = sorted(files_of(made.location, "features"))
    place = f"{made.location}/features/{names[0]}"
    store.write_bytes(place, store.read_bytes(place))  # as a run that was killed has rewritten it
    done = do(made.location)
    assert sorted(files_of(made.location, "features"))[0] == names[0]
    assert done["files_after"]["features"] == 2
    assert "1 files of features are of a run that has not ended, and left alone" in compact.summary(done)


def test_what_a_fit_that_was_interrupted_has_made_goes_with_the_files_it_is_of(made: Made) -> None:
    first = sorted(files_of(made.location, "features"))[0]
    half_done = tables.matrix_names(first, "pca-9-other")
    for name in half_done:
        store.write_bytes(store.join(made.location, name), b"of another model")
    do(made.location)
    assert not any((Path(made.location) / name).exists() for name in half_done)


def test_what_is_no_output_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no output of this job"):
        do(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_killed_at_any_step_every_photo_is_there_once_or_not_and_then_all_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(str(tmp_path / "out"), photos(tmp_path / "photos", 32), files=1)
    before, allowed, killed = rows_in(whole.location), 0, True
    steps, delete_files = Counter[str](), store.delete_files
    while killed:
        made = outputs.copied(whole, str(tmp_path / f"out-{allowed}"))
        left, killed = allowed, False

        def or_die(name: str) -> Callable[..., Any]:
            call = getattr(store, name)

            def step(place: str, *more: Any, **named: Any) -> Any:
                nonlocal left
                if "/_lock" not in place and "_replaced" not in place:
                    left -= 1
                    if left < 0:
                        steps[name] += 1
                        raise Killed
                return call(place, *more, **named)

            return step

        with monkeypatch.context() as patch:
            # S3, too, may have deleted some of many when the driver dies.
            patch.setattr(store, "delete_one", lambda place: delete_files([place]), raising=False)
            for name in ("write_bytes", "delete_tree", "delete_one", "move"):
                patch.setattr(store, name, or_die(name))
            patch.setattr(store, "delete_files", lambda places: [*map(vars(store)["delete_one"], places)])
            try:
                do(made.location)
            except Killed:
                killed = True
        for name in TABLES:
            paths = [row["path"] for row in rows_of(made.location, name)]
            assert len(set(paths)) == len(paths), "a reader sees no photo twice"
        with opened(made.location, "a run", "run", lambda _: None):
            journal.finish(made.location)
        assert_same(made.location, before, whole.location)
        allowed += 1
    assert steps["write_bytes"] >= 6
    assert steps["delete_one"] >= 6
    assert steps["move"] >= 3


def test_in_s3_the_same_comes_of_it(bucket: str, tmp_path: Path) -> None:
    made = make(f"s3://{bucket}/some/out", photos(tmp_path / "photos", 32), files=1)
    before = rows_in(made.location)
    do(made.location)
    assert rows_in(made.location) == before
    assert len(files_of(made.location, "features")) == 1
    assert_a_run_has_nothing_to_do(made)
    assert list(store.list_files(f"s3://{bucket}/some/out/_compact")) == []
