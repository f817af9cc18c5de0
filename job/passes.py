"""What Spark's workers do once the features are written: check them, sum them up, and project them.

In each pass Spark hands a worker a number, the worker reads its share of the files itself, and little comes
back: counts, or a matrix of moments.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from job import backbone, inventory, store, tables
from job.backbone import FEATURES
from job.moments import Moments, accumulate, merge_all
from job.pca import Pca

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MERGED_ON_DRIVER: Final = 16  # 13 MB each
MOMENTS: Final = ["task", "n", "mean", "scatter"]
MOMENTS_DDL: Final = "task bigint, n bigint, mean binary, scatter binary"


def outcomes(spark: "SparkSession", taken: inventory.Inventory, output: str, run_id: str) -> Counter[str]:
    """Compare what was written with what was listed, path by path, from what the files really hold.

    Returns
    -------
    Counter
        Photos by the reason for their rejection, ``""`` being none; and under ``"wrong"`` the photos that are
        not exactly once in ``features`` or ``rejected``.

    Raises
    ------
    JobError
        If a file is there that this run has not written.
    """
    features = tables.parts(store.join(output, store.FEATURES_TABLE), run_id)
    rejected = tables.parts(store.join(output, store.REJECTED_TABLE), run_id)
    located = spark.sparkContext.broadcast((taken.location, features, rejected))
    shares = min(taken.tasks, 4 * spark.sparkContext.defaultParallelism)

    def check(share: int) -> Iterator[pa.RecordBatch]:
        location, good, bad = located.value
        found: Counter[str] = Counter()
        for task in range(share, taken.tasks, shares):
            found.update(_outcomes_of_task(location, task, good.get(task), bad.get(task)))
        yield pa.RecordBatch.from_arrays(
            [pa.array(list(found)), pa.array(list(found.values()), pa.int64())], ["reason", "photos"]
        )

    whole: Counter[str] = Counter()
    for row in _each(spark, shares, check, "reason string, photos bigint").collect():
        whole[row["reason"]] += row["photos"]
    return whole


def moments(spark: "SparkSession", location: str) -> Moments:
    """Return the moments of a features table, in one pass.

    Each task sums up its files; parts are merged in the order of their tasks, on the executors as long as
    there are many, so that neither the driver nor the result depends on how many there are.
    """
    shares = spark.sparkContext.broadcast(_shares(spark, location))

    def summarise(share: int) -> Iterator[pa.RecordBatch]:
        backbone.forget()  # the network's memory is better used here
        rows = (
            tables.matrix(batch.column(0), FEATURES)
            for batch in tables.read(shares.value[share], ["features"])
        )
        yield _part(share, accumulate(rows, FEATURES))

    def merge(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        first, whole = None, Moments.none(FEATURES)
        for batch in batches:
            for row in batch.to_pylist():
                first = row["task"] if first is None else first
                whole = whole.merge(_from_row(row))
        if first is not None:
            yield _part(first, whole)

    count = len(shares.value)
    found = _each(spark, count, summarise, MOMENTS_DDL)
    while count > MERGED_ON_DRIVER:
        count = -(-count // MERGED_ON_DRIVER)
        found = found.repartitionByRange(count, "task").sortWithinPartitions("task")
        found = found.mapInArrow(merge, MOMENTS_DDL)
    ordered = sorted(found.collect(), key=lambda row: int(row["task"]))
    return merge_all((_from_row(row) for row in ordered), FEATURES)


def project(spark: "SparkSession", output: str, model: Pca, run_id: str) -> int:
    """Write the reduced matrix, as Parquet and as CSV, and return its rows."""
    shares = spark.sparkContext.broadcast(_shares(spark, store.join(output, store.FEATURES_TABLE)))
    shared = spark.sparkContext.broadcast(model)

    def write(share: int) -> Iterator[pa.RecordBatch]:
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
        yield pa.RecordBatch.from_arrays([pa.array([rows], pa.int64())], ["rows"])

    return sum(row["rows"] for row in _each(spark, len(shares.value), write, "rows bigint").collect())


def _each(
    spark: "SparkSession", count: int, work: Callable[[int], Iterator[pa.RecordBatch]], ddl: str
) -> "DataFrame":
    """Return what `work` yields for each number below `count`, each a task of Spark's own."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from work(number)

    return spark.range(0, count, 1, numPartitions=max(count, 1)).mapInArrow(run, ddl)


def _shares(spark: "SparkSession", location: str) -> list[list[str]]:
    return tables.files_by_task(location, spark.sparkContext.defaultParallelism)


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


def _part(task: int, part: Moments) -> pa.RecordBatch:
    numbers = [pa.array([task], pa.int64()), pa.array([part.n], pa.int64())]
    return pa.RecordBatch.from_arrays([*numbers, _binary(part.mean), _binary(part.scatter)], MOMENTS)


def _binary(array: "np.ndarray[Any, np.dtype[np.float64]]") -> pa.BinaryArray:
    """Return a column of one value, the array's bytes, without copying them."""
    offsets = pa.array([0, array.nbytes], pa.int32()).buffers()[1]
    return pa.BinaryArray.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(array)])


def _from_row(row: Any) -> Moments:
    scatter = np.frombuffer(row["scatter"])
    return Moments(row["n"], np.frombuffer(row["mean"]), scatter.reshape(FEATURES, FEATURES))
