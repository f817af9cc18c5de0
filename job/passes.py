"""What Spark's workers do once the photos are judged: check the files, sum them up, and project them.

In each pass Spark hands a worker a number, the worker reads its share of the files itself, and little comes
back: counts, or a matrix of moments. Such numbers need no data frame: Spark starts its SQL engine for none of
this, which takes it longer than all else it does here.
"""

from collections import ChainMap, Counter
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeVar

from job import backbone, matrix, tasks
from job.backbone import FEATURES
from job.moments import Moments, accumulate
from job.pca import Pca
from job.table import files, layout
from job.table.layout import DataFile, Report
from job.tasks import Tasks

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import SparkSession

T = TypeVar("T")

MERGED_ON_DRIVER: Final = 16  # moments of 13 MB each; more are merged on the executors first
FILES_PER_SUM: Final = 50  # of a thousand photos each: ten seconds
FILES_PER_MATRIX: Final = 20
WRONG: Final = "wrong"  # among the reasons: photos that are not where they should be, once


def outcomes(
    spark: "SparkSession", output: str, todo: Tasks, reports: Sequence[Report], rows: dict[str, int]
) -> Counter[str]:
    """Compare what was written with what there was to do, path by path, from what the files really hold.

    Parameters
    ----------
    spark : SparkSession
    output : str
    todo : Tasks
    reports : sequence of Report
        Of these tasks.
    rows : dict
        Rows of each file that was replaced.

    Returns
    -------
    Counter
        Photos by the reason for their rejection, ``""`` being none; and under ``WRONG`` the photos that are
        not exactly once in the files of their task, and the rows that should have stayed and did not.
    """
    shares = _shares(sorted(reports), 4 * spark.sparkContext.defaultParallelism)
    shared = spark.sparkContext.broadcast((shares, rows))

    def check(share: int) -> Counter[str]:
        mine, before = shared.value
        parts = (_outcomes_of_task(output, todo.location, report, before) for report in mine[share])
        return sum(parts, Counter())

    found: Counter[str] = sum(_each(spark, len(shares), check).collect(), Counter())
    found[WRONG] += todo.tasks - len({report.task for report in reports})
    return found


def moments(spark: "SparkSession", output: str, chosen: Sequence[DataFile]) -> Moments:
    """Return the moments of files of featurized photos, in one pass.

    Each task sums up its share. Few parts are merged in the order of their tasks; many are merged on the
    executors, in a tree, which the result does not depend on but in its last digits.
    """
    places = [files.location(output, file.path) for file in chosen]
    shares = spark.sparkContext.broadcast(_shares(places, _tasks(spark, len(places), FILES_PER_SUM)))

    def summarise(share: int) -> Moments:
        backbone.forget()  # the network's memory is better used here
        batches = files.batches(shares.value[share], ["features"])
        return accumulate((files.matrix(batch.column(0), FEATURES) for batch in batches), FEATURES)

    parts = _each(spark, len(shares.value), summarise)
    if len(shares.value) > MERGED_ON_DRIVER:
        whole: Moments = parts.treeReduce(Moments.merge)
        return whole
    return reduce(Moments.merge, parts.collect(), Moments.none(FEATURES))


def project(spark: "SparkSession", output: str, chosen: Sequence[DataFile], model: Pca) -> dict[str, int]:
    """Write the reduced matrix of files of featurized photos, and return the rows of each."""
    paths = [file.path for file in chosen]
    shares = spark.sparkContext.broadcast(_shares(paths, _tasks(spark, len(paths), FILES_PER_MATRIX)))
    shared = spark.sparkContext.broadcast(model)

    def write(share: int) -> dict[str, int]:
        return {path: matrix.project(output, path, shared.value) for path in shares.value[share]}

    return dict(ChainMap(*_each(spark, len(shares.value), write).collect()))


def _each(spark: "SparkSession", count: int, work: Callable[[int], T]) -> "RDD[T]":
    """Return what `work` makes of each number below `count`, each a task of Spark's own."""
    return spark.sparkContext.range(count, numSlices=max(count, 1)).map(work)


def _tasks(spark: "SparkSession", count: int, most: int) -> int:
    """Return into how many shares to cut files: one a core, more only if a share would be of too many."""
    return max(min(spark.sparkContext.defaultParallelism, count), -(-count // most))


def _shares(every: Sequence[T], tasks: int) -> list[list[T]]:
    """Share things out over tasks, evenly and in order."""
    tasks = max(min(tasks, len(every)), 1)
    ends = [len(every) * task // tasks for task in range(tasks + 1)]
    return [list(every[start:end]) for start, end in pairwise(ends)]


def _outcomes_of_task(output: str, location: str, report: Report, before: dict[str, int]) -> Counter[str]:
    """Count one task's photos by reason, and what is not where it should be, once."""
    listed = Counter(
        (row["path"], row["etag"])
        for row in tasks.read(location, report.task).select(["path", "etag"]).to_pylist()
    )
    paths = {path for path, _ in listed}
    found: Counter[str] = Counter()
    seen: Counter[tuple[str, str]] = Counter()
    stayed = 0
    for file in report.written:
        table = files.read(files.location(output, file.path), ["path", "etag", "reason"])
        mine = table.filter(files.are_of(table, paths))
        stayed += len(table) - len(mine)
        seen.update(zip(mine["path"].to_pylist(), mine["etag"].to_pylist(), strict=True))
        good = file.outcome == layout.FEATURIZED
        found.update([""] * len(mine) if good else mine["reason"].to_pylist())
    replaced = tasks.read(location, report.task)["replaces"].drop_null()
    should_stay = sum(before[path] for path in report.replaced) - len(replaced)
    wrong = sum(((seen - listed) + (listed - seen)).values()) + abs(should_stay - stayed)
    return found + Counter({WRONG: wrong})
