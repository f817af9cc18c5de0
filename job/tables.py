"""The tables as Spark and its workers see them: written by Spark, and read by PyArrow inside the workers.

A worker reads its share of the Parquet files itself, straight into NumPy: through Spark's own reader every
number would be copied from columns to rows and back, one at a time.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from job import store
from job.backbone import FEATURES
from job.errors import JobError
from job.moments import Moments, accumulate, merge_all
from job.pca import Pca

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BYTES_PER_TASK: Final = 256 * 2**20
ROWS_PER_READ: Final = 1024
MERGED_ON_DRIVER: Final = 16  # 13 MB each
GLOB_CHARACTERS: Final = "{}[]*?\\"
PARQUET: Final = {
    "compression": "zstd",
    # Features hardly ever repeat: a dictionary of them is built only to be thrown away.
    "parquet.enable.dictionary#features.list.element": "false",
    # Row groups of this size let a worker read in steps of a few thousand rows.
    "parquet.block.size": str(16 * 2**20),
}

MOMENTS: Final = ["task", "n", "mean", "scatter"]
MOMENTS_DDL: Final = "task bigint, n bigint, mean binary, scatter binary"

Files = list[str]


def spark_path(location: str, spark: "SparkSession") -> str:
    """Return a location as Hadoop's file systems want it for writing.

    Raises
    ------
    JobError
        If it is in S3 and this Spark has no file system for it.
    """
    if not store.is_s3(location):
        return f"file:{location}"
    java: Any = spark._jvm
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    if hadoop.get("fs.s3.impl"):  # as on EMR
        return location
    try:
        java.java.lang.Class.forName("org.apache.hadoop.fs.s3a.S3AFileSystem")
    except Exception:  # noqa: BLE001 (py4j's wrapping of ClassNotFoundException)
        raise JobError(
            f"this Spark cannot write to {location}: it has no S3A (hadoop-aws); EMR has"
        ) from None
    return "s3a://" + location.removeprefix("s3://")


def write_parquet(frame: "DataFrame", location: str) -> None:
    """Write a table anew, in place of one that was there."""
    frame.write.mode("overwrite").options(**PARQUET).parquet(spark_path(location, frame.sparkSession))


def write_csv(spark: "SparkSession", source: str, target: str, k: int) -> None:
    """Write a reduced matrix as CSV: ``path,label,split,pc_1,…,pc_k``, with a header, as in RFC 4180."""
    from pyspark.sql import functions as F  # noqa: N812, PLC0415

    numbers = [F.col("pca")[number].alias(f"pc_{number + 1}") for number in range(k)]
    frame = read_parquet(spark, source, store.PCA_DDL).select("path", "label", "split", *numbers)
    options = {"header": "true", "escape": '"', "emptyValue": "", "encoding": "UTF-8"}
    frame.write.mode("overwrite").options(**options).csv(spark_path(target, spark))


def read_parquet(spark: "SparkSession", location: str, ddl: str) -> "DataFrame":
    """Read a table with its known schema; characters that Hadoop takes for patterns are escaped."""
    path = spark_path(location, spark)
    escaped = "".join(f"\\{letter}" if letter in GLOB_CHARACTERS else letter for letter in path)
    return spark.read.schema(ddl).parquet(escaped)


def files_by_task(location: str, cores: int) -> list[Files]:
    """Share a table's files out over even tasks: one a core, more only for very large tables."""
    found = list(store.list_files(location, ".parquet"))
    tasks = max(min(len(found), cores), sum(size for _, size in found) // BYTES_PER_TASK, 1)
    shares: list[Files] = [[] for _ in range(min(tasks, len(found)))]
    loads = [0] * len(shares)
    for name, size in found:
        lightest = loads.index(min(loads))
        shares[lightest].append(name)
        loads[lightest] += size
    return shares


def moments(spark: "SparkSession", location: str) -> Moments:
    """Return the moments of a features table, in one pass.

    Each task sums up its files; parts are merged in the order of their tasks, on the executors as long as
    there are many, so that neither the driver nor the result depends on how many there are.
    """
    shares = spark.sparkContext.broadcast(files_by_task(location, spark.sparkContext.defaultParallelism))

    def summarise(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for task in _numbers(batches):
            rows = (_matrix(batch) for batch in _read(shares.value[task], ["features"]))
            yield _part(task, accumulate(rows, FEATURES))

    def merge(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        first, whole = None, Moments.none(FEATURES)
        for batch in batches:
            for row in batch.to_pylist():
                first = row["task"] if first is None else first
                whole = whole.merge(_from_row(row))
        if first is not None:
            yield _part(first, whole)

    count = len(shares.value)
    parts = spark.range(0, count, 1, numPartitions=max(count, 1)).mapInArrow(summarise, MOMENTS_DDL)
    while count > MERGED_ON_DRIVER:
        count = -(-count // MERGED_ON_DRIVER)
        parts = (
            parts.repartitionByRange(count, "task")
            .sortWithinPartitions("task")
            .mapInArrow(merge, MOMENTS_DDL)
        )
    ordered = sorted(parts.toLocalIterator(), key=lambda row: int(row["task"]))
    return merge_all((_from_row(row) for row in ordered), FEATURES)


def project(spark: "SparkSession", location: str, model: Pca) -> "DataFrame":
    """Return the reduced matrix of a features table: ``path, label, split, pca array<float>[k]``."""
    shares = spark.sparkContext.broadcast(files_by_task(location, spark.sparkContext.defaultParallelism))
    shared_model = spark.sparkContext.broadcast(model)
    names = ["path", "label", "split"]

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for task in _numbers(batches):
            for batch in _read(shares.value[task], [*names, "features"]):
                reduced = shared_model.value.project(_matrix(batch))
                yield pa.RecordBatch.from_arrays(
                    [*(batch.column(name) for name in names), vectors(reduced)], [*names, "pca"]
                )

    tasks = spark.range(0, len(shares.value), 1, numPartitions=max(len(shares.value), 1))
    return tasks.mapInArrow(run, store.PCA_DDL)


def vectors(rows: "np.ndarray[Any, np.dtype[np.float32]]") -> pa.ListArray:
    """Return a matrix ``(n, d)`` as n lists of d numbers, without copying it."""
    offsets = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.reshape(-1)))


def _matrix(batch: pa.RecordBatch) -> "np.ndarray[Any, np.dtype[np.float32]]":
    lists = batch.column("features")
    flat: np.ndarray[Any, np.dtype[np.float32]] = lists.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(lists), FEATURES)


def _read(files: Files, names: list[str]) -> Iterator[pa.RecordBatch]:
    for name in files:
        with store.open_input(name) as source:
            yield from pq.ParquetFile(source).iter_batches(ROWS_PER_READ, columns=names, use_threads=False)


def _numbers(batches: Iterable[pa.RecordBatch]) -> Iterator[int]:
    for batch in batches:
        yield from batch.column(0).to_pylist()


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
