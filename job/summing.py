"""The moments of all features: what is known merged with what is new, so that nothing is summed up twice.

What a run has added, replaced and taken out is merged and taken out here as well. Where the kept moments are
not of the files that were there before, as after a run that was killed, everything is summed up anew: slower,
and of nothing that was kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from job import coverage, drops, passes, store
from job.backbone import FEATURES
from job.coverage import Sums
from job.drops import Dropped
from job.inventory import Inventory
from job.known import Known
from job.moments import Moments
from job.store import Stored
from job.tasks import Tasks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True, slots=True)
class Changes:
    """What a run has done to ``features``.

    Attributes
    ----------
    before : mapping
        Files and their versions before it.
    touched : frozenset of str
        Names of files that rows were taken out of, or replaced in.
    gone : Moments
        Of the rows that were taken out before anything was made.
    todo : Tasks
        What was made.
    attempt : str
        Stands in the names of the files that were made.
    """

    before: Mapping[str, str]
    touched: frozenset[str]
    gone: Moments
    todo: Tasks
    attempt: str


def changes(known: Known, taken: Inventory, dropped: Dropped, attempt: str) -> Changes:
    """Return what a run has done."""
    replaced = drops.names(taken.comparison.changed()["replaces"].unique().to_pylist())
    before = coverage.versions(known.features)
    return Changes(before, dropped.files | replaced, dropped.moments, taken.tasks, attempt)


def sum_up(
    start_spark: "Callable[[], SparkSession]", output: str, changes: Changes, expected: int
) -> tuple[Moments, bool]:
    """Bring the kept moments up to date, keep them, and return them.

    Parameters
    ----------
    start_spark : callable
        Returns the session; only called if rows must be read.
    output : str
        The output's location.
    changes : Changes
    expected : int
        Rows that ``features`` has.

    Returns
    -------
    Moments
    bool
        Whether they had to be summed up anew.
    """
    files = list(store.list_stored(store.join(output, store.FEATURES_TABLE), ".parquet"))
    now = coverage.versions(files)
    kept = coverage.load_sums(output)
    if kept is not None and kept.files == now and kept.moments.n == expected:
        return kept.moments, False
    whole = _merged(start_spark, output, files, changes, kept) if kept is not None else None
    anew = whole is None or whole.n != expected
    if whole is None or anew:
        whole = passes.moments(start_spark(), [file.location for file in files])
    coverage.save_sums(output, Sums(whole, now))
    return whole, anew and kept is not None


def _merged(
    start_spark: "Callable[[], SparkSession]", output: str, files: list[Stored], changes: Changes, kept: Sums
) -> Moments | None:
    """Return kept moments with a run's changes; None if they are not of what was there before it."""
    before = {name: version for name, version in changes.before.items() if name in kept.files}
    now = coverage.versions(files)
    left_alone = kept.files.keys() - changes.touched
    if before != kept.files or not changes.touched <= kept.files.keys():
        return None
    if any(now.get(name) != kept.files[name] for name in left_alone):
        return None
    gone, come = changes.gone, Moments.none(FEATURES)
    if changes.todo.tasks > changes.todo.first_changed:
        old, come = passes.replaced(start_spark(), output, changes.todo, changes.attempt)
        gone = gone.merge(old)
    added = [file.location for file in files if file.location.rpartition("/")[2] not in kept.files]
    if added:
        come = come.merge(passes.moments(start_spark(), added))
    # What comes, first: the more rows are left, the fewer digits go with those taken out.
    return kept.moments.merge(come).without(gone)
