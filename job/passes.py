"""What Spark's workers do once the features are written: check them, sum them up, and project them.

In each pass Spark hands a worker a number, the worker reads its share of the files itself, and little comes
back: counts, or a matrix of moments. Such numbers need no data frame: Spark starts its SQL engine for none of
this, which takes it longer than all else it does here.
"""

from collections import ChainMap, Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import reduce
from typing import TYPE_CHECKING, Final, TypeVar

import pyarrow as pa

from job import backbone, rewrite, store, tables, tasks
from job.backbone import FEATURES
from job.moments import Moments, accumulate
from job.pca import Pca
from job.tasks import Tasks

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import SparkSession

T = TypeVar("T")

MERGED_ON_DRIVER: Final = 16  # moments of 13 MB each; more are merged on the executors first


def outcomes(
    spark: "SparkSession", output: str, todo: Tasks, features: dict[int, str], rejected: dict[int, str]
) -> Counter[str]:
    """Compare what was written with what there was to do, path by path, from what the files really hold.

    Parameters
    ----------
    spark : SparkSession
    output : str
        The output's location.
    todo : Tasks
    features, rejected : dict
        The files that the tasks wrote of both tables, by task.

    Returns
    -------
    Counter
        Photos by the reason for their rejection, ``""`` being none; and under ``"wrong"`` the photos that are
        not exactly once in ``features`` or ``rejected``.
    """
    located = spark.sparkContext.broadcast((todo.location, features, rejected))
    tasks_of = _dealt(spark, 0, todo.tasks)

    def check(share: int) -> Counter[str]:
        location, good, bad = located.value
        found: Counter[str] = Counter()
        for task in tasks_of[share]:
            found.update(_outcomes_of_task(output, location, task, good.get(task), bad.get(task)))
        return found

    return sum(_each(spark, len(tasks_of), check).collect(), Counter())


def moments(spark: "SparkSession", files: list[str]) -> Moments:
    """Return the moments of a features table's files, in one pass.

    Each task sums up its share. Few parts are merged in the order of their tasks; many are merged on the
    executors, in a tree, which the result does not depend on but in its last digits.
    """
    shares = spark.sparkContext.broadcast(tables.shares(files, _tasks(spark, files, tables.FILES_PER_SUM)))

    def summarise(share: int) -> Moments:
        backbone.forget()  # the network's memory is better used here
        batches = tables.read(shares.value[share], ["features"])
        return accumulate((tables.matrix(batch.column(0), FEATURES) for batch in batches), FEATURES)

    parts = _each(spark, len(shares.value), summarise)
    if len(shares.value) > MERGED_ON_DRIVER:
        whole: Moments = parts.treeReduce(Moments.merge)
        return whole
    return reduce(Moments.merge, parts.collect(), Moments.none(FEATURES))


def replaced(spark: "SparkSession", output: str, todo: Tasks, attempt: str) -> tuple[Moments, Moments]:
    """Return the moments of the rows taken out of files of features, and of those put in instead."""
    tasks_of = _dealt(spark, todo.first_changed, todo.tasks)
    location = todo.location

    def summarise(share: int) -> tuple[Moments, Moments]:
        files = [one for task in tasks_of[share] for one in _replaced_by(location, task).items()]
        old = (rewrite.read(tables.replaced(output, attempt, name)) for name, _ in files)
        new = (rewrite.rows_of(store.join(output, name), paths, ["features"]) for name, paths in files)
        return _moments_of(old), _moments_of(new)

    nothing = Moments.none(FEATURES)
    parts = _each(spark, len(tasks_of), summarise).toLocalIterator()
    return reduce(lambda a, b: (a[0].merge(b[0]), a[1].merge(b[1])), parts, (nothing, nothing))


def project(
    spark: "SparkSession", files: list[str], output: str, model: Pca, model_id: str
) -> dict[str, int]:
    """Write the reduced matrix of files of features, as Parquet and as CSV, and return the rows of each."""
    shares = spark.sparkContext.broadcast(tables.shares(files, _tasks(spark, files, tables.FILES_PER_MATRIX)))
    shared = spark.sparkContext.broadcast(model)

    def write(share: int) -> dict[str, int]:
        return {file: tables.project(file, output, shared.value, model_id) for file in shares.value[share]}

    return dict(ChainMap(*_each(spark, len(shares.value), write).collect()))


def _each(spark: "SparkSession", count: int, work: Callable[[int], T]) -> "RDD[T]":
    """Return what `work` makes of each number below `count`, each a task of Spark's own."""
    return spark.sparkContext.range(count, numSlices=max(count, 1)).map(work)


def _tasks(spark: "SparkSession", files: list[str], most: int) -> int:
    """Return into how many shares to cut files: one a core, more only if a share would be of too many."""
    return max(min(spark.sparkContext.defaultParallelism, len(files)), -(-len(files) // most))


def _dealt(spark: "SparkSession", start: int, end: int) -> list[range]:
    """Deal tasks out, four shares a core."""
    shares = max(min(end - start, 4 * spark.sparkContext.defaultParallelism), 0)
    return [range(start + share, end, shares) for share in range(shares)]


def _moments_of(parts: Iterable[pa.Table]) -> Moments:
    columns = (part["features"].combine_chunks() for part in parts if len(part))
    return accumulate((tables.matrix(column, FEATURES) for column in columns), FEATURES)


def _replaced_by(location: str, task: int) -> dict[str, list[str]]:
    """Return the files of features of which a task has replaced rows, and the photos of each."""
    rows = tasks.read(location, task).select(["path", "replaces"]).to_pylist()
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        if str(row["replaces"]).startswith(store.FEATURES_TABLE):
            found[row["replaces"]].append(row["path"])
    return found


def _outcomes_of_task(
    output: str, location: str, task: int, good: str | None, bad: str | None
) -> Counter[str]:
    """Count one task's photos by reason, and those that are not where they should be, once."""
    rows = tasks.read(location, task).select(["path", "etag", "replaces"]).to_pylist()
    listed = Counter((row["path"], row["etag"]) for row in rows)
    found: Counter[str] = Counter()
    seen: Counter[tuple[str, str]] = Counter()

    def add(table: pa.Table, reasons: Iterable[str]) -> None:
        seen.update(zip(table["path"].to_pylist(), table["etag"].to_pylist(), strict=True))
        found.update(reasons)

    for file in filter(None, (good, *sorted({row["replaces"] or "" for row in rows}), bad)):
        in_place = file not in (good, bad)
        is_good = file is good or (in_place and file.startswith(store.FEATURES_TABLE))
        columns = ["etag"] if is_good else ["etag", "reason"]
        at = store.join(output, file) if in_place else file
        paths = [row["path"] for row in rows if row["replaces"] == file] if in_place else None
        table = rewrite.rows_of(at, paths, columns) if paths else rewrite.read(at, ["path", *columns])
        add(table, [""] * len(table) if is_good else table["reason"].to_pylist())
    found["wrong"] = sum(((seen - listed) + (listed - seen)).values())
    return found
