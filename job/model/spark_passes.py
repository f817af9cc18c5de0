"""Spark's passes over the written files: checking them, computing moments, and projecting features.

A worker gets the number of its share, reads those files itself, and returns counts or moments. No data frame
is used, because starting Spark's SQL engine would take longer than all else that Spark does here.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeVar

from job.inventory import tasks
from job.inventory.tasks import Tasks
from job.maths.grouped_moments import TableMoments
from job.maths.pca import Pca
from job.model import incremental_moments, predictions, projection
from job.model.classifier import Classifier
from job.network import backbone
from job.table import files, layout
from job.table.layout import DataFile, Report

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import SparkSession

S = TypeVar("S")
T = TypeVar("T")

# Moments of 13 MB a split and 10 kB a label; more are merged on the executors first, down to about a dozen.
MERGED_ON_DRIVER: Final = 8
MERGE_DEPTH: Final = 3
FILES_PER_SUM: Final = 50  # of a thousand photos each: ten seconds
FILES_PER_MATRIX: Final = 20
MISPLACED: Final = "wrong"  # the key, among the reasons, of photos missing, duplicated or in the wrong file


def outcome_counts(
    spark: "SparkSession", output: str, todo: Tasks, reports: Sequence[Report], rows: dict[str, int]
) -> Counter[str]:
    """Count the outcomes in the written files, and compare their photos with the tasks' by path and etag.

    Parameters
    ----------
    reports : sequence of Report
        The reports of these tasks.
    rows : dict
        Number of rows of each replaced file, by its path.

    Returns
    -------
    Counter
        Photos by the reason for their rejection, ``""`` if featurized; under ``MISPLACED``, photos missing
        from or repeated in their task's files, and lost rows of unchanged photos.
    """
    replaced_rows = spark.sparkContext.broadcast(rows)

    def check(share: list[Report]) -> Counter[str]:
        parts = (_task_outcomes(output, todo.location, report, replaced_rows.value) for report in share)
        return sum(parts, Counter())

    parts = _map_shares(spark, sorted(reports), 4 * spark.sparkContext.defaultParallelism, check)
    counts: Counter[str] = sum(parts.collect(), Counter())
    counts[MISPLACED] += todo.tasks - len({report.task for report in reports})
    return counts


def moments(spark: "SparkSession", output: str, featurized: Sequence[DataFile]) -> TableMoments:
    """Return the moments of files of featurized photos, in one pass.

    Each task computes those of its share. Few parts are merged on the driver, in order; many are merged in a
    tree on the executors, whose order changes only the last digits.
    """

    def summarise(share: list[DataFile]) -> TableMoments:
        backbone.clear_networks()  # the moments need that memory
        return incremental_moments.file_moments(output, share)

    shares = _share_count(spark, len(featurized), FILES_PER_SUM)
    parts = _map_shares(spark, featurized, shares, summarise)
    if shares > MERGED_ON_DRIVER:
        merged: TableMoments = parts.treeReduce(TableMoments.merge, MERGE_DEPTH)
        return merged
    return reduce(TableMoments.merge, parts.collect())


def project_files(spark: "SparkSession", output: str, featurized: Sequence[DataFile], model: Pca) -> int:
    """Write the reduced matrix of files of featurized photos, and return its number of rows."""
    broadcast = spark.sparkContext.broadcast(model)

    def write(share: list[DataFile]) -> int:
        return sum(projection.project_file(output, file.path, broadcast.value) for file in share)

    shares = _share_count(spark, len(featurized), FILES_PER_MATRIX)
    return sum(_map_shares(spark, featurized, shares, write).collect())


def classify_files(
    spark: "SparkSession", output: str, featurized: Sequence[DataFile], classifier: Classifier, photos: str
) -> None:
    """Write the predictions of files of featurized photos, of ``all`` or ``unlabelled`` ones."""
    broadcast = spark.sparkContext.broadcast(classifier)

    def write(share: list[DataFile]) -> None:
        for file in share:
            predictions.write_file(output, file.path, broadcast.value, photos)

    shares = _share_count(spark, len(featurized), FILES_PER_MATRIX)
    _map_shares(spark, featurized, shares, write).collect()


def _share_count(spark: "SparkSession", file_count: int, max_files: int) -> int:
    """Return the number of shares: one a core, or more so that no share has over `max_files`."""
    return max(min(spark.sparkContext.defaultParallelism, file_count), -(-file_count // max_files))


def _map_shares(
    spark: "SparkSession", items: Sequence[S], tasks: int, function: Callable[[list[S]], T]
) -> "RDD[T]":
    """Apply a function to even shares of the items, in order, in at most so many tasks."""
    tasks = max(min(tasks, len(items)), 1)
    ends = [len(items) * task // tasks for task in range(tasks + 1)]
    shares = spark.sparkContext.broadcast([list(items[start:end]) for start, end in pairwise(ends)])
    return spark.sparkContext.range(tasks, numSlices=tasks).map(lambda task: function(shares.value[task]))


def _task_outcomes(output: str, location: str, report: Report, replaced_rows: dict[str, int]) -> Counter[str]:
    """Count one task's photos by reason, and those that are misplaced."""
    task = tasks.read(location, report.task)
    listed = Counter(zip(task["path"].to_pylist(), task["etag"].to_pylist(), strict=True))
    paths = {path for path, _ in listed}
    counts: Counter[str] = Counter()
    written: Counter[tuple[str, str]] = Counter()
    copied_rows = 0
    for file in report.written:
        table = files.read(files.location(output, file.path), ["path", "etag", "reason"])
        photos = table.filter(files.photo_mask(table, paths))
        copied_rows += len(table) - len(photos)
        written.update(zip(photos["path"].to_pylist(), photos["etag"].to_pylist(), strict=True))
        is_featurized = file.outcome == layout.FEATURIZED
        counts.update([""] * len(photos) if is_featurized else photos["reason"].to_pylist())
    unchanged_rows = sum(replaced_rows[path] for path in report.replaced) - len(task["replaces"].drop_null())
    misplaced = sum(((written - listed) + (listed - written)).values()) + abs(unchanged_rows - copied_rows)
    return counts + Counter({MISPLACED: misplaced})
