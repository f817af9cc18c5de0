"""The heart of the run: each Spark task fetches, decodes and infers the photos of one inventory task.

Spark hands a worker a task number and gets rows back, one for every photo of the task: either with 1280
features, or with the reason why there are none. The network's bytes are broadcast once; a worker builds its
network from them on its first task and keeps it.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import AccumulatorParam

from job import backbone, inventory, store
from job.backbone import FEATURES, Backbone, Network
from job.decode import Limits, Rejected, decode
from job.fetch import REQUESTS_FOLDER, REQUESTS_S3, fetch

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

    `payload` holds the broadcast network's bytes; `count` and `first` add up, over all workers, the photos
    done and the time of the very first.
    """

    location: str
    engine: str
    key: str
    payload: "Broadcast[Any]"
    backbone: str
    run_id: str
    limits: Limits
    count: "Accumulator[int]"
    first: "Accumulator[float]"


@dataclass(frozen=True, slots=True)
class Done:
    """What the workers have reported: how many photos, and when the first (seconds since 1970, or None)."""

    photos: Callable[[], int]
    first: Callable[[], float | None]


class _Earliest(AccumulatorParam[float]):
    """Adds up times by keeping the earliest."""

    def zero(self, value: float) -> float:
        """Return what any time is earlier than."""
        del value
        return math.inf

    def addInPlace(self, value1: float, value2: float) -> float:  # noqa: N802 (PySpark's name)
        """Return the earlier time."""
        return min(value1, value2)


def outcomes(
    spark: "SparkSession", taken: inventory.Inventory, network: Backbone, limits: Limits, run_id: str
) -> tuple["DataFrame", Done]:
    """Return a row for every listed photo, not yet computed, and what tells how many are done.

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
    first = context.accumulator(math.inf, _Earliest())
    work = Work(
        location=taken.location,
        engine=network.engine,
        key=network.key,
        payload=context.broadcast(network.payload),
        backbone=network.name,
        run_id=run_id,
        limits=limits,
        count=count,
        first=first,
    )

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch.column(0).to_pylist():
                yield from run_task(work, task)

    tasks = spark.range(0, taken.tasks, 1, numPartitions=taken.tasks)
    done = Done(lambda: count.value, lambda: first.value if math.isfinite(first.value) else None)
    return tasks.mapInArrow(run, OUTCOMES_DDL), done


class Outcome(NamedTuple):
    """What became of one photo: features, or a reason."""

    features: NDArray[np.float32] | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    reason: str | None = None
    detail: str | None = None


def run_task(work: Work, task: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of one inventory task, in its order, in batches of at most 64."""
    network = backbone.network(work.engine, work.key, lambda: work.payload.value)
    listed = inventory.read_task(work.location, task)
    paths, sizes = listed.column("path").to_pylist(), listed.column("bytes").to_pylist()
    rows = [{"path": path, "bytes": size} for path, size in zip(paths, sizes, strict=True)]
    requests = REQUESTS_S3 if any(store.is_s3(path) for path in paths) else REQUESTS_FOLDER
    done: list[Outcome] = []
    start = 0
    for _, data in fetch(rows, _pool(requests), requests, work.limits.max_bytes):
        done.append(featurize(data, network, work.limits))
        if start == 0 and len(done) == 1:
            work.first.add(time.time())
        if len(done) == ROWS_PER_BATCH:
            yield _record_batch(listed.slice(start, len(done)), done, work)
            start, done = start + len(done), []
    if done:
        yield _record_batch(listed.slice(start), done, work)


def featurize(data: bytes | Rejected, network: Network, limits: Limits) -> Outcome:
    """Turn one photo's bytes into features, or say why not."""
    try:
        if isinstance(data, Rejected):
            raise data
        photo = decode(data, limits)
    except Rejected as rejected:
        return Outcome(reason=rejected.reason, detail=rejected.detail)
    sha256 = hashlib.sha256(data).hexdigest()
    return Outcome(network(photo.pixels), sha256, photo.width, photo.height)


def _record_batch(listed: pa.RecordBatch, done: list[Outcome], work: Work) -> pa.RecordBatch:
    """Put what the inventory knows and what became of each photo side by side."""
    found = [outcome.features for outcome in done if outcome.features is not None]
    flat = np.concatenate(found) if found else np.empty(0, np.float32)
    if flat.size != FEATURES * len(found):
        raise ValueError(
            f"the network gives {flat.size} numbers for {len(found)} photos, not {FEATURES} each"
        )
    missing = [outcome.features is None for outcome in done]
    offsets = np.cumsum([0, *(0 if lacks else FEATURES for lacks in missing)], dtype=np.int32)
    columns = {
        **{name: listed.column(name) for name in listed.schema.names},
        **{name: [getattr(outcome, name) for outcome in done] for name in Outcome._fields},
        "features": pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), mask=pa.array(missing)),
        "backbone": [work.backbone] * len(done),
        "run_id": [work.run_id] * len(done),
    }
    work.count.add(len(done))
    arrays = [
        values if isinstance(values, pa.Array) else pa.array(values, field.type)
        for field, values in ((field, columns[field.name]) for field in SCHEMA)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


@cache
def _pool(requests: int) -> ThreadPoolExecutor:
    """Return this worker's threads for fetching, kept from task to task."""
    return ThreadPoolExecutor(requests, thread_name_prefix="fetch")
