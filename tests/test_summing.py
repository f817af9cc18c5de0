"""The moments of all features: only what is new is read, and the result is that of all rows."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from job import coverage, passes, rewrite, store, summing, tables
from job.backbone import FEATURES
from job.drops import Dropped
from job.moments import Moments, accumulate
from job.summing import Changes, sum_up
from job.tasks import Tasks
from tests.known_rows import Row, drawn, table, write


class Workers:
    """Stands in for Spark: does the passes here, and notes which files were summed up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.summed: list[str] = []
        self.started = 0
        self.old, self.new = Moments.none(FEATURES), Moments.none(FEATURES)
        monkeypatch.setattr(passes, "moments", self._moments)
        monkeypatch.setattr(passes, "replaced", lambda *_: (self.old, self.new))

    def start(self) -> Any:
        self.started += 1
        return "a session"

    def _moments(self, spark: object, files: list[str]) -> Moments:
        assert spark == "a session"
        self.summed += [name.rpartition("/")[2] for name in files]
        return of_files(files)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    return Workers(monkeypatch)


def not_started() -> Any:
    pytest.fail("Spark is started")


def of_files(files: list[str]) -> Moments:
    batches = tables.read(files, ["features"])
    return accumulate((tables.matrix(batch.column(0), FEATURES) for batch in batches), FEATURES)


def files(output: Path) -> dict[str, str]:
    return coverage.versions(store.list_stored(f"{output}/features"))


def paths(number: int, rows: int = 6) -> list[str]:
    return [f"/{number}/{row}" for row in range(rows)]


def add(output: Path, number: int, rows: int = 6) -> None:
    """Write a file of features of its own."""
    write(str(output), f"features/part-{number}.parquet", paths(number, rows), drawn(rows, number))


def changes(
    before: dict[str, str], touched: tuple[str, ...] = (), gone: Moments | None = None, replaces: bool = False
) -> Changes:
    todo = Tasks("", 0, 0, 1 if replaces else 0, 0)
    return Changes(before, frozenset(touched), gone or Moments.none(FEATURES), todo, "night-2")


def summed(output: Path, start: Callable[[], Any], made: Changes, rows: int) -> tuple[Moments, bool]:
    """Sum up, and make sure that the result is that of all rows, and kept with the files as they are."""
    found, anew = sum_up(start, str(output), made, rows)
    wanted = of_files([str(file) for file in sorted((output / "features").iterdir())])
    assert found.n == wanted.n
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-11)
    np.testing.assert_allclose(found.scatter, wanted.scatter, rtol=0, atol=1e-9)
    kept = coverage.load_sums(str(output))
    assert kept is not None
    assert (kept.files, kept.moments.n) == (files(output), found.n)
    return found, anew


@pytest.fixture
def output(tmp_path: Path, workers: Workers) -> Path:
    """Return an output of three files, eighteen rows, which are summed up."""
    for number in range(3):
        add(tmp_path, number)
    _, anew = summed(tmp_path, workers.start, changes({}), 18)
    assert not anew, "the first time is no second time"
    assert workers.summed == ["part-0.parquet", "part-1.parquet", "part-2.parquet"]
    workers.summed, workers.started = [], 0
    return tmp_path


def test_where_nothing_has_changed_spark_is_not_started_and_nothing_is_written(output: Path) -> None:
    kept = output / "moments/moments.npz"
    before = (kept.stat().st_ino, kept.stat().st_mtime_ns)
    found, anew = summed(output, not_started, changes(files(output)), 18)
    assert (found.n, anew) == (18, False)
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == before


def test_of_new_files_only_those_are_read(output: Path, workers: Workers) -> None:
    before = files(output)
    add(output, 3, rows=2)
    add(output, 4)
    _, anew = summed(output, workers.start, changes(before), 26)
    assert not anew
    assert workers.summed == ["part-3.parquet", "part-4.parquet"]


def test_rows_that_were_taken_out_cost_no_spark(output: Path) -> None:
    before = files(output)
    rewrite.drop(f"{output}/features/part-1.parquet", ["/1/0", "/1/3"])
    gone = Moments.of(drawn(6, 1)[[0, 3]])
    _, anew = summed(output, not_started, changes(before, ("part-1.parquet",), gone), 16)
    assert not anew


def test_replaced_rows_go_and_come(output: Path, workers: Workers) -> None:
    before = files(output)
    add(output, 3, rows=2)
    workers.old, workers.new = replace(output, 2, 4)
    _, anew = summed(output, workers.start, changes(before, ("part-2.parquet",), replaces=True), 20)
    assert not anew
    assert workers.summed == ["part-3.parquet"]


def replace(output: Path, number: int, row: int) -> tuple[Moments, Moments]:
    """Replace a row, and return the moments of what has gone and of what has come."""
    new = table("features", [Row(paths(number)[row], "new")], drawn(1, 99))
    rewrite.replace(f"{output}/features/part-{number}.parquet", [paths(number)[row]], new)
    return Moments.of(drawn(6, number)[[row]]), Moments.of(drawn(1, 99))


def test_rows_taken_out_and_rows_replaced_go_together(output: Path, workers: Workers) -> None:
    before = files(output)
    rewrite.drop(f"{output}/features/part-1.parquet", ["/1/0", "/1/3"])
    gone = Moments.of(drawn(6, 1)[[0, 3]])
    workers.old, workers.new = replace(output, 2, 4)
    made = changes(before, ("part-1.parquet", "part-2.parquet"), gone, replaces=True)
    _, anew = summed(output, workers.start, made, 16)
    assert not anew
    assert workers.summed == []


def test_a_file_that_a_killed_run_has_changed_is_not_trusted_though_this_one_changes_it_too(
    output: Path, workers: Workers
) -> None:
    replace(output, 1, 5)  # and then that run was killed
    before = files(output)
    rewrite.drop(f"{output}/features/part-1.parquet", ["/1/0"])
    made = changes(before, ("part-1.parquet",), Moments.of(drawn(6, 1)[[0]]))
    _, anew = summed(output, workers.start, made, 17)
    assert anew
    assert len(workers.summed) == 3


def test_a_file_that_a_killed_run_has_added_is_not_counted_twice_though_this_one_changes_it(
    output: Path, workers: Workers
) -> None:
    add(output, 3)  # and then that run was killed
    before = files(output)
    workers.old, workers.new = replace(output, 3, 2)
    _, anew = summed(output, workers.start, changes(before, ("part-3.parquet",), replaces=True), 24)
    assert anew
    assert len(workers.summed) == 4


def touch_unseen(output: Path) -> tuple[str, ...]:
    add(output, 1, rows=6)
    return ()


def lose(output: Path) -> tuple[str, ...]:
    (output / "features/part-1.parquet").unlink()
    return ()


def take_out_most(output: Path) -> tuple[str, ...]:
    for number in (0, 1):
        (output / f"features/part-{number}.parquet").unlink()
    return ("part-0.parquet", "part-1.parquet")


@pytest.mark.parametrize(("how", "rows"), [(touch_unseen, 18), (lose, 12), (take_out_most, 6)])
def test_where_the_kept_moments_are_of_other_rows_everything_is_summed_up_anew(
    output: Path, workers: Workers, how: Callable[[Path], tuple[str, ...]], rows: int
) -> None:
    before = files(output)
    touched = how(output)
    gone = Moments.of(np.vstack([drawn(6, 0), drawn(6, 1)])) if touched else None
    _, anew = summed(output, workers.start, changes(before, touched, gone), rows)
    assert anew
    assert workers.summed == sorted(files(output))


def test_a_run_that_was_killed_before_this_one_makes_that_sum_up_anew(output: Path, workers: Workers) -> None:
    rewrite.drop(f"{output}/features/part-1.parquet", ["/1/0"])  # and then it was killed
    _, anew = summed(output, workers.start, changes(files(output)), 17)
    assert anew
    assert len(workers.summed) == 3


def test_what_a_killed_run_has_added_is_only_read_now(output: Path, workers: Workers) -> None:
    add(output, 3)
    before = files(output)
    add(output, 4)
    _, anew = summed(output, workers.start, changes(before), 30)
    assert not anew
    assert workers.summed == ["part-3.parquet", "part-4.parquet"]


def test_a_count_that_does_not_fit_is_not_believed(output: Path, workers: Workers) -> None:
    before = files(output)
    rewrite.drop(f"{output}/features/part-1.parquet", ["/1/0"])
    _, anew = summed(output, workers.start, changes(before, ("part-1.parquet",)), 17)
    assert anew
    assert len(workers.summed) == 3


def test_the_changes_of_a_run_name_the_files_that_lost_rows_to_it() -> None:
    files = ["features/a.parquet", "features/a.parquet", "rejected/b.parquet"]
    comparison: Any = SimpleNamespace(changed=lambda: pa.table({"replaces": files}))
    taken: Any = SimpleNamespace(comparison=comparison, tasks=Tasks("at", 3, 4, 5, 4))
    known: Any = SimpleNamespace(features=[store.Stored("/out/features/a.parquet", 9, "v1")])
    dropped = Dropped(2, frozenset({"c.parquet"}), Moments.none(FEATURES))
    found = summing.changes(known, taken, dropped, "night-2")
    assert found.before == {"a.parquet": "v1"}
    assert found.touched == {"a.parquet", "c.parquet"}
    assert (found.todo.tasks, found.attempt) == (5, "night-2")
