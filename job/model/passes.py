"""What Spark's workers do once the photos are judged: check the files, sum them up, and project them.

In each pass Spark hands a worker a number, the worker reads its share of the files itself, and little comes
back: counts, or a matrix of moments. Such numbers need no data frame: Spark starts its SQL engine for none of
this, which takes it longer than all else it does here.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeVar

from job.inventory import tasks
from job.inventory.tasks import Tasks
from job.maths.moments import Moments
from job.maths.pca import Pca
from job.model import incremental_moments, projection
from job.network import backbone
from job.table import files, layout
from job.table.layout import DataFile, Report

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import SparkSession

S = TypeVar("S")
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
    before = spark.sparkContext.broadcast(rows)

    def check(share: list[Report]) -> Counter[str]:
        parts = (_outcomes_of_task(output, todo.location, report, before.value) for report in share)
        return sum(parts, Counter())

    parts = _of_shares(spark, sorted(reports), 4 * spark.sparkContext.defaultParallelism, check)
    found: Counter[str] = sum(parts.collect(), Counter())
    found[WRONG] += todo.tasks - len({report.task for report in reports})
    return found


def moments(spark: "SparkSession", output: str, chosen: Sequence[DataFile]) -> Moments:
    """Return the moments of files of featurized photos, in one pass.

    Each task sums up its share. Few parts are merged in the order of their tasks; many are merged on the
    executors, in a tree, which the result does not depend on but in its last digits.
    """

    def summarise(share: list[DataFile]) -> Moments:
        backbone.forget()  # the network's memory is better used here
        return incremental_moments.of_files(output, share)

    shares = _tasks(spark, len(chosen), FILES_PER_SUM)
    parts = _of_shares(spark, chosen, shares, summarise)
    if shares > MERGED_ON_DRIVER:
        whole: Moments = parts.treeReduce(Moments.merge)
        return whole
    return reduce(Moments.merge, parts.collect())


def project(spark: "SparkSession", output: str, chosen: Sequence[DataFile], model: Pca) -> int:
    """Write the reduced matrix of files of featurized photos, and return its rows."""
    fitted = spark.sparkContext.broadcast(model)

    def write(share: list[DataFile]) -> int:
        return sum(projection.project(output, file.path, fitted.value) for file in share)

    return sum(_of_shares(spark, chosen, _tasks(spark, len(chosen), FILES_PER_MATRIX), write).collect())


def _tasks(spark: "SparkSession", count: int, most: int) -> int:
    """Return into how many shares to cut files: one a core, more only if a share would be of too many."""
    return max(min(spark.sparkContext.defaultParallelism, count), -(-count // most))


def _of_shares(
    spark: "SparkSession", every: Sequence[S], tasks: int, work: Callable[[list[S]], T]
) -> "RDD[T]":
    """Share things out over at most so many tasks, evenly, in order; return what each makes of its share."""
    tasks = max(min(tasks, len(every)), 1)
    ends = [len(every) * task // tasks for task in range(tasks + 1)]
    shares = spark.sparkContext.broadcast([list(every[start:end]) for start, end in pairwise(ends)])
    return spark.sparkContext.range(tasks, numSlices=tasks).map(lambda task: work(shares.value[task]))


def _outcomes_of_task(output: str, location: str, report: Report, before: dict[str, int]) -> Counter[str]:
    """Count one task's photos by reason, and what is not where it should be, once."""
    task = tasks.read(location, report.task)
    listed = Counter(zip(task["path"].to_pylist(), task["etag"].to_pylist(), strict=True))
    paths = {path for path, _ in listed}
    found: Counter[str] = Counter()
    seen: Counter[tuple[str, str]] = Counter()
    stayed = 0
    for file in report.written:
        table = files.read(files.location(output, file.path), ["path", "etag", "reason"])
        mine = table.filter(files.photo_mask(table, paths))
        stayed += len(table) - len(mine)
        seen.update(zip(mine["path"].to_pylist(), mine["etag"].to_pylist(), strict=True))
        good = file.outcome == layout.FEATURIZED
        found.update([""] * len(mine) if good else mine["reason"].to_pylist())
    should_stay = sum(before[path] for path in report.replaced) - len(task["replaces"].drop_null())
    wrong = sum(((seen - listed) + (listed - seen)).values()) + abs(should_stay - stayed)
    return found + Counter({WRONG: wrong})
