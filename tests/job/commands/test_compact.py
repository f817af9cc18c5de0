"""Compaction: few files instead of many, and nothing else changes, whoever is killed wherever."""

from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from job.commands import compact
from job.commands.compact import groups_to_merge
from job.model import incremental_moments
from job.table import files, layout, sweep, takeover
from job.table.layout import DataFile
from tests.job.commands.test_erase import LOG, assert_derived, assert_right
from tests.job.commands.test_erase_faults import Killed, at_step, kill
from tests.support import outputs, tables
from tests.support.outputs import Output, make, matrix_of, photos, rows_of
from tests.support.tables import tree

HOURS = 87600


def do(place: str, rows: int = compact.ROWS, keep_versions: float = 0) -> dict[str, Any]:
    return compact.run(place, LOG, rows, keep_versions)


def rows_in(place: str) -> list[Any]:
    """Return all rows, with features bit by bit, and the matrix."""
    return [*(rows_of(place, outcome) for outcome in compact.OUTCOMES), *matrix_of(place)]


def moments_of(place: str) -> bytes:
    kept = incremental_moments.load(place)
    assert kept is not None
    return kept.moments.mean.tobytes() + kept.moments.scatter.tobytes()


def test_many_files_become_one_of_each_outcome_and_all_else_stays(output: Output) -> None:
    before, many = rows_in(output.location), tables.snapshot(output.location)
    moments = moments_of(output.location)
    done = do(output.location)
    assert compact.summary(done) == (
        f"featurized: {len(many.files_of(layout.FEATURIZED))} files are 1 now\n"
        f"rejected: {len(many.files_of(layout.REJECTED))} files are 1 now"
    )
    assert rows_in(output.location) == before
    assert moments_of(output.location) == moments, "they were not summed up again"
    for file in tables.snapshot(output.location).files:
        paths = files.read(files.location(output.location, file))["path"].to_pylist()
        assert paths == sorted(paths)
    assert_right(output, [])


def test_a_second_compaction_changes_nothing(output: Output) -> None:
    do(output.location, rows=20)
    before = tree(output.location)
    assert len(tables.snapshot(output.location).files_of(layout.FEATURIZED)) > 1
    assert compact.summary(do(output.location, rows=20)) == (
        "nothing to do: there are no small files to merge"
    )
    after = tree(output.location)
    assert before.items() <= after.items()
    assert all("_delta_log" in name for name in after.keys() - before.keys())


def test_only_small_files_are_merged_with_their_neighbours_and_no_file_becomes_too_large() -> None:
    sizes = {"a": 4, "b": 5, "c": 4, "d": 4, "e": 1, "f": 4, "g": 0}
    found = [(name, DataFile(name.upper(), 0, rows)) for name, rows in sizes.items()]
    groups = ["".join(file.path for file in group) for group in groups_to_merge(reversed(found), 10)]
    assert groups == ["AC", "DEFG"]


def test_readers_of_every_version_see_each_photo_once(output: Output) -> None:
    first, table = tables.snapshot(output.location).version + 1, f"{output.location}/{layout.PHOTOS}"
    do(output.location, rows=20, keep_versions=HOURS)
    last = tables.snapshot(output.location).version
    assert last - first > 4, "each group is a commit of its own"
    for version in range(first, last + 1):
        read = [files.read(file, ["path"])["path"] for file in DeltaTable(table, version).file_uris()]
        paths = Counter(path for column in read for path in column.to_pylist())
        assert paths == dict.fromkeys([*output.good, *output.bad], 1)


def test_without_a_model_the_next_run_makes_the_matrix(output: Output) -> None:
    Path(output.location, layout.CURRENT_MODEL).unlink()
    do(output.location)
    record = outputs.run(output)
    assert record["model"]["rows_projected"] == len(output.good)
    assert_right(output, [])


def test_killed_at_any_step_it_is_continued_and_nothing_is_lost(
    output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "WATCH_SECONDS", 0)
    before, rows = rows_in(output.location), 40
    for last_step in count():
        made = outputs.copied(output, str(tmp_path / f"out-{last_step}"))
        with monkeypatch.context() as patch:
            kill(patch, at_step(last_step))
            try:
                do(made.location, rows)
                break
            except Killed:
                pass
        assert [rows_of(made.location, outcome) for outcome in compact.OUTCOMES] == before[:2]
        do(made.location, rows)
        assert rows_in(made.location) == before
        outputs.run(made)
        assert_derived(made.location)
    assert last_step > 15


def test_in_s3_the_same_comes_of_it(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs.quick(monkeypatch)
    place = make(f"s3://{bucket}/some/out", photos(tmp_path / "photos", 32), cores=1).location
    before = rows_in(place)
    do(place)
    assert rows_in(place) == before
    snapshot = tables.snapshot(place)
    assert len(snapshot.files_of(layout.FEATURIZED)) == 1
    assert sweep.unreferenced(place, sweep.candidates(place), snapshot) == []
    assert_derived(place)
