"""What Spark's workers do once the features are written: check them, sum them up, and project them.

In each pass Spark hands a worker a number, the worker reads its share of the files itself, and little comes
back: counts, or a matrix of moments. Such numbers need no data frame: Spark starts its SQL engine for none of
this, which takes it longer than all else it does here.
"""

from collections import Counter
from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Final, TypeVar

from job import backbone, inventory, store, tables
from job.backbone import FEATURES
from job.moments import Moments, accumulate
from job.pca import Pca

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import SparkSession

T = TypeVar("T")

MERGED_ON_DRIVER: Final = 16  # moments of 13 MB each; more are merged on the executors first


def outcomes(
    spark: "SparkSession", taken: inventory.Inventory, features: dict[int, str], rejected: dict[int, str]
) -> Counter[str]:
    """Compare what was written with what was listed, path by path, from what the files really hold.

    Parameters
    ----------
    spark : SparkSession
    taken : Inventory
    features, rejected : dict
        The files of both tables, by task.

    Returns
    -------
    Counter
        Photos by the reason for their rejection, ``""`` being none; and under ``"wrong"`` the photos that are
        not exactly once in ``features`` or ``rejected``.
    """
    located = spark.sparkContext.broadcast((taken.location, features, rejected))
    shares = min(taken.tasks, 4 * spark.sparkContext.defaultParallelism)
    tasks = taken.tasks

    def check(share: int) -> Counter[str]:
        location, good, bad = located.value
        found: Counter[str] = Counter()
        for task in range(share, tasks, shares):
            found.update(_outcomes_of_task(location, task, good.get(task), bad.get(task)))
        return found

    return sum(_each(spark, shares, check).collect(), Counter())


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


def project(spark: "SparkSession", files: list[str], output: str, model: Pca, run_id: str) -> int:
    """Write the reduced matrix, as Parquet and as CSV, and return its rows."""
    shares = spark.sparkContext.broadcast(tables.shares(files, _tasks(spark, files, tables.FILES_PER_MATRIX)))
    shared = spark.sparkContext.broadcast(model)

    def write(share: int) -> int:
        made = tables.MatrixWriter(shared.value.k)
        rows = 0
        for batch in tables.read(shares.value[share], [*store.PCA.names[:3], "features"]):
            reduced = shared.value.project(tables.matrix(batch.column("features"), FEATURES))
            made.write(batch, reduced)
            rows += len(reduced)
        name = tables.part_name(share, run_id)
        columns, lines = made.close()
        store.write_bytes(store.join(output, store.PCA_TABLE, name), columns)
        store.write_bytes(store.join(output, store.PCA_CSV_TABLE, name.replace(".parquet", ".csv")), lines)
        return rows

    return sum(_each(spark, len(shares.value), write).collect())


def _each(spark: "SparkSession", count: int, work: Callable[[int], T]) -> "RDD[T]":
    """Return what `work` makes of each number below `count`, each a task of Spark's own."""
    return spark.sparkContext.range(count, numSlices=max(count, 1)).map(work)


def _tasks(spark: "SparkSession", files: list[str], most: int) -> int:
    """Return into how many shares to cut files: one a core, more only if a share would be of too many."""
    return max(min(spark.sparkContext.defaultParallelism, len(files)), -(-len(files) // most))


def _outcomes_of_task(location: str, task: int, good: str | None, bad: str | None) -> Counter[str]:
    """Count one task's photos by reason, and those that are not where they should be, once."""
    listed = Counter(inventory.read_task(location, task).column("path").to_pylist())
    found: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for batch in tables.read([good] if good else [], ["path"]):
        seen.update(batch.column("path").to_pylist())
        found[""] += len(batch)
    for batch in tables.read([bad] if bad else [], ["path", "reason"]):
        seen.update(batch.column("path").to_pylist())
        found.update(batch.column("reason").to_pylist())
    found["wrong"] = sum(((seen - listed) + (listed - seen)).values())
    return found
