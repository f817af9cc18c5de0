"""The heart of the run: each Spark task fetches, decodes and infers the photos of one inventory task.

Spark hands a worker a task number and gets rows back, one for every photo of the task: either with 1280
features, or with the reason why there are none. The network's bytes are broadcast once; a worker builds its
network from them on its first task and keeps it.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from job import backbone, inventory, store
from job.backbone import FEATURES, Backbone, Network
from job.decode import Limits, Rejected, decode
from job.fetch import REQUESTS_FOLDER, REQUESTS_S3, Row, fetch

if TYPE_CHECKING:
    from pyspark import Accumulator, Broadcast
    from pyspark.sql import DataFrame, SparkSession

# Every listed photo becomes one row of these columns; either `features` or `reason` is null.
OUTCOMES_DDL: Final = store.FEATURES_DDL.replace(
    "backbone string", "reason string, detail string, backbone string"
)
ROWS_PER_BATCH: Final = 64
SCHEMA: Final = pa.schema(
    [
        *store.INVENTORY_SCHEMA,
        pa.field("sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("features", pa.list_(pa.float32())),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("backbone", pa.string()),
        pa.field("run_id", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Work:
    """What every task of a run is told, beside its number.

    `payload` returns the broadcast network's bytes, `count` adds photos to the run's progress.
    """

    location: str
    engine: str
    key: str
    payload: "Broadcast[Any]"
    backbone: str
    run_id: str
    limits: Limits
    count: "Accumulator[int]"


def outcomes(
    spark: "SparkSession", taken: inventory.Inventory, network: Backbone, limits: Limits, run_id: str
) -> tuple["DataFrame", Callable[[], int]]:
    """Return a row for every listed photo, not yet computed, and a function that counts the photos done.

    Parameters
    ----------
    spark : SparkSession
    taken : Inventory
        One Spark task is made of each of its tasks.
    network : Backbone
        Broadcast here, once.
    limits : Limits
        Largest photo, in bytes and pixels.
    run_id : str
        Stands in each row.
    """
    context = spark.sparkContext
    count = context.accumulator(0)
    work = Work(
        location=taken.location,
        engine=network.engine,
        key=network.key,
        payload=context.broadcast(network.payload),
        backbone=network.name,
        run_id=run_id,
        limits=limits,
        count=count,
    )

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch.column(0).to_pylist():
                yield from run_task(work, task)

    tasks = spark.range(0, taken.tasks, 1, numPartitions=taken.tasks)
    return tasks.mapInArrow(run, OUTCOMES_DDL), lambda: count.value


def run_task(work: Work, task: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of one inventory task, in its order, in batches of at most 64."""
    network = backbone.network(work.engine, work.key, lambda: work.payload.value)
    requests = REQUESTS_S3 if store.is_s3(work.location) else REQUESTS_FOLDER
    rows = inventory.read_task(work.location, task)
    if rows and store.is_s3(rows[0]["path"]):
        requests = REQUESTS_S3
    photos = fetch(rows, _pool(requests), requests, work.limits.max_bytes)
    batch: list[tuple[Row, np.ndarray[Any, np.dtype[np.float32]] | None]] = []
    for row, data in photos:
        batch.append((row, _featurize(row, data, network, work.limits)))
        if len(batch) == ROWS_PER_BATCH:
            yield _record_batch(batch, work)
            batch = []
    if batch:
        yield _record_batch(batch, work)


def _featurize(
    row: Row, data: bytes | Rejected, network: Network, limits: Limits
) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """Fill in what is now known of a photo; its features, or None if it is rejected."""
    try:
        if isinstance(data, Rejected):
            raise data
        photo = decode(data, limits)
    except Rejected as rejected:
        row["reason"], row["detail"] = rejected.reason, rejected.detail
        return None
    row["sha256"] = hashlib.sha256(data).hexdigest()
    row["width"], row["height"] = photo.width, photo.height
    return network(photo.pixels)


def _record_batch(
    batch: list[tuple[Row, np.ndarray[Any, np.dtype[np.float32]] | None]], work: Work
) -> pa.RecordBatch:
    vectors = [features for _, features in batch if features is not None]
    flat = np.concatenate(vectors) if vectors else np.empty(0, np.float32)
    assert flat.size == FEATURES * len(vectors), "the network did not give 1280 features"
    offsets = np.cumsum([0, *(0 if features is None else FEATURES for _, features in batch)], dtype=np.int32)
    missing = pa.array([features is None for _, features in batch])
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), mask=missing)
    rows = [{**row, "backbone": work.backbone, "run_id": work.run_id} for row, _ in batch]
    arrays = [
        lists if field.name == "features" else pa.array([row.get(field.name) for row in rows], field.type)
        for field in SCHEMA
    ]
    work.count.add(len(batch))
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


@cache
def _pool(requests: int) -> ThreadPoolExecutor:
    """Return this worker's threads for fetching, kept from task to task."""
    return ThreadPoolExecutor(requests, thread_name_prefix="fetch")
