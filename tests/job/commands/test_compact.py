"""Compaction: it merges files and changes no row, even if it is killed at any step."""

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
from tests.job.commands.test_erase import LOG, assert_derived, assert_whole_without
from tests.job.commands.test_erase_faults import Killed, at_step, kill
from tests.support import outputs, tables
from tests.support.outputs import Output, make, matrix_of, photos, rows_of
from tests.support.tables import tree

HOURS = 87600


def run_compact(output: str, rows: int = compact.ROWS, keep_versions: float = 0) -> dict[str, Any]:
    return compact.run(output, LOG, rows, keep_versions)


def rows_in(output: str) -> list[Any]:
    """Return the rows of all outcomes, and the matrix."""
    return [*(rows_of(output, outcome) for outcome in compact.OUTCOMES), *matrix_of(output)]


def moments_of(output: str) -> bytes:
    saved = incremental_moments.load(output)
    assert saved is not None
    total = saved.moments.features.total
    return total.mean.tobytes() + total.scatter.tobytes()


def test_files_are_merged_into_one_per_outcome_and_rows_stay(output: Output) -> None:
    before, snapshot = rows_in(output.location), tables.snapshot(output.location)
    moments = moments_of(output.location)
    summary = run_compact(output.location)
    assert compact.summary(summary) == (
        f"featurized: {len(snapshot.files_of(layout.FEATURIZED))} files are 1 now\n"
        f"rejected: {len(snapshot.files_of(layout.REJECTED))} files are 1 now"
    )
    assert rows_in(output.location) == before
    assert moments_of(output.location) == moments, "the moments are not recounted"
    for file in tables.snapshot(output.location).files:
        paths = files.read(files.location(output.location, file))["path"].to_pylist()
        assert paths == sorted(paths)
    assert_whole_without(output, [])


def test_a_second_compaction_changes_nothing(output: Output) -> None:
    run_compact(output.location, rows=20)
    before = tree(output.location)
    assert len(tables.snapshot(output.location).files_of(layout.FEATURIZED)) > 1
    assert compact.summary(run_compact(output.location, rows=20)) == (
        "nothing to do: there are no small files to merge"
    )
    after = tree(output.location)
    assert before.items() <= after.items()
    assert all("_delta_log" in name for name in after.keys() - before.keys())


def test_only_small_files_are_merged_up_to_the_size_limit() -> None:
    sizes = {"a": 4, "b": 5, "c": 4, "d": 4, "e": 1, "f": 4, "g": 0}
    data_files = [(name, DataFile(name.upper(), 0, rows)) for name, rows in sizes.items()]
    groups = ["".join(file.path for file in group) for group in groups_to_merge(reversed(data_files), 10)]
    assert groups == ["AC", "DEFG"]


def test_readers_of_every_version_see_each_photo_once(output: Output) -> None:
    first, table = tables.snapshot(output.location).version + 1, f"{output.location}/{layout.PHOTOS}"
    run_compact(output.location, rows=20, keep_versions=HOURS)
    last = tables.snapshot(output.location).version
    assert last - first > 4, "each group is a commit of its own"
    for version in range(first, last + 1):
        columns = [files.read(file, ["path"])["path"] for file in DeltaTable(table, version).file_uris()]
        paths = Counter(path for column in columns for path in column.to_pylist())
        assert paths == dict.fromkeys([*output.good, *output.bad], 1)


def test_without_a_model_the_next_run_writes_the_matrix(output: Output) -> None:
    Path(output.location, layout.CURRENT_MODEL).unlink()
    run_compact(output.location)
    record = outputs.run(output)
    assert record["model"]["rows_projected"] == len(output.good)
    assert_whole_without(output, [])


def test_a_compaction_killed_at_any_step_is_continued_without_loss(
    output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "WATCH_SECONDS", 0)
    before, rows = rows_in(output.location), 40
    for last_step in count():
        copy = outputs.copied(output, str(tmp_path / f"out-{last_step}"))
        with monkeypatch.context() as patch:
            kill(patch, at_step(last_step))
            try:
                run_compact(copy.location, rows)
                break
            except Killed:
                pass
        assert [rows_of(copy.location, outcome) for outcome in compact.OUTCOMES] == before[:2]
        run_compact(copy.location, rows)
        assert rows_in(copy.location) == before
        outputs.run(copy)
        assert_derived(copy.location)
    assert last_step > 15


def test_compaction_in_s3_gives_the_same_result(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs.quick(monkeypatch)
    location = make(f"s3://{bucket}/some/out", photos(tmp_path / "photos", 32), cores=1).location
    before = rows_in(location)
    run_compact(location)
    assert rows_in(location) == before
    snapshot = tables.snapshot(location)
    assert len(snapshot.files_of(layout.FEATURIZED)) == 1
    assert sweep.unreferenced(location, sweep.candidates(location), snapshot) == []
    assert_derived(location)
