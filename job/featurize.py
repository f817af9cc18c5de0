"""The heart of the run: each Spark task fetches, decodes and infers the photos of one inventory task.

Spark hands a worker a task number. The worker writes a Parquet file of features, and one of rejected photos
if there are any, straight from its memory: through Spark's writer every one of the 1280 numbers would be
turned into a row's and back, which costs a third of a millisecond a photo. Files are named by task and run
and appear whole, so a task that Spark runs again replaces what an earlier attempt has written.

The network's bytes are broadcast once; a worker builds its network from them on its first task and keeps it.
"""

import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import AccumulatorParam, TaskContext

from job import backbone, lock, rewrite, store, tables, tasks
from job.backbone import Backbone, Network
from job.decode import Limits, Rejected, decode
from job.errors import JobError
from job.fetch import REQUESTS_FOLDER, REQUESTS_S3, fetch
from job.lock import Held
from job.tasks import Tasks

if TYPE_CHECKING:
    from pyspark import Accumulator, Broadcast
    from pyspark.sql import SparkSession


@dataclass(frozen=True, slots=True)
class Work:
    """What every task of a run is told, beside its number; `inventory` and `output` are locations.

    `attempt` is in the names of files: two runs of one id never write the same. `lock` is the token of the
    lock on the output. `payload` holds the broadcast network's bytes; `count` and `first` add up, over all
    workers, the photos done and the time of the very first.
    """

    inventory: str
    output: str
    engine: str
    key: str
    payload: "Broadcast[Any]"
    backbone: str
    run_id: str
    attempt: str
    lock: str
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


def plan(
    spark: "SparkSession",
    todo: Tasks,
    output: str,
    network: Backbone,
    limits: Limits,
    held: Held,
    attempt: str,
) -> tuple[Callable[[], None], Done]:
    """Return what does the work, and what tells how much of it is done.

    Parameters
    ----------
    spark : SparkSession
    todo : Tasks
        One Spark task is made of each.
    output : str
        Where ``features`` and ``rejected`` are.
    network : Backbone
        Broadcast here, once.
    limits : Limits
        Largest photo, in bytes and pixels.
    held : Held
        The lock on `output`; its run's id stands in each row.
    attempt : str
        Stands in the name of each file.
    """
    context = spark.sparkContext
    count = context.accumulator(0)
    first = context.accumulator(math.inf, _Earliest())
    work = Work(
        inventory=todo.location,
        output=output,
        engine=network.engine,
        key=network.key,
        payload=context.broadcast(network.payload),
        backbone=network.name,
        run_id=held.run_id,
        attempt=attempt,
        lock=held.token,
        limits=limits,
        count=count,
        first=first,
    )

    done = Done(lambda: count.value, lambda: first.value if math.isfinite(first.value) else None)
    return lambda: context.range(todo.tasks, numSlices=todo.tasks).foreach(partial(run_task, work)), done


class Outcome(NamedTuple):
    """What became of one photo: features, or a reason."""

    features: NDArray[np.float32] | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    reason: str | None = None
    detail: str | None = None


def run_task(work: Work, number: int) -> None:
    """Write the features of one task's photos, and the list of those rejected; a wave."""
    context = TaskContext.get()
    again = context is not None and context.attemptNumber() > 0
    network = backbone.network(work.engine, work.key, lambda: work.payload.value)
    listed = tasks.read(work.inventory, number)
    done = [_counted(outcome, work) for outcome in outcomes(listed, network, work.limits)]
    _check_lock(work)
    replaces = listed.column("replaces").to_pylist()
    new = [row for row, file in enumerate(replaces) if not str(file).startswith(store.FEATURES_TABLE)]
    fresh = [row for row, file in enumerate(replaces) if not str(file).startswith(store.REJECTED_TABLE)]
    # Features first: a run that ends in between leaves a photo in both tables, and features is what counts.
    _write(_table(listed, done, new, store.FEATURES, work), store.FEATURES_TABLE, number, work, again)
    _replace(listed, done, store.FEATURES, work)
    _write(_table(listed, done, fresh, store.REJECTED, work), store.REJECTED_TABLE, number, work, again)
    _replace(listed, done, store.REJECTED, work)


def outcomes(listed: pa.RecordBatch, network: Network, limits: Limits) -> Iterator[Outcome]:
    """Fetch and featurize photos, in their order."""
    paths, sizes = listed.column("path").to_pylist(), listed.column("bytes").to_pylist()
    rows = [{"path": path, "bytes": size} for path, size in zip(paths, sizes, strict=True)]
    requests = REQUESTS_S3 if any(store.is_s3(path) for path in paths) else REQUESTS_FOLDER
    for _, data in fetch(rows, _pool(requests), requests, limits.max_bytes):
        yield featurize(data, network, limits)


def _counted(outcome: Outcome, work: Work) -> Outcome:
    work.count.add(1)
    work.first.add(time.time())
    return outcome


def _check_lock(work: Work) -> None:
    """Make sure that nobody has taken the output over since: our driver may have died, and we live on."""
    if not lock.is_held_by(work.output, work.lock):
        raise JobError(f"{work.output} was taken over by another run: this task's work is not written")


def _write(table: pa.Table, name: str, number: int, work: Work, again: bool) -> None:
    """Write the task's own file of a table."""
    location = store.join(work.output, name, tables.part_name(number, work.attempt))
    if len(table):
        store.write_bytes(location, tables.parquet(table))
    elif again:  # an earlier attempt, which another outcome has overtaken, may have written one
        store.delete_tree(location)


def _replace(listed: pa.RecordBatch, done: list[Outcome], schema: pa.Schema, work: Work) -> None:
    """Put this task's rows in the place of older ones of the same photos, file by file."""
    name = store.FEATURES_TABLE if "features" in schema.names else store.REJECTED_TABLE
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, file in enumerate(listed.column("replaces").to_pylist()):
        if file is not None and file.startswith(name):
            rows_of[file].append(row)
    for file, rows in rows_of.items():
        location = store.join(work.output, file)
        paths = listed.column("path").take(pa.array(rows)).to_pylist()
        if name == store.FEATURES_TABLE:
            # What goes is kept for the moments. The first attempt's counts: a later one finds its new rows.
            gone = rewrite.rows_of(location, paths, ["features"]).select(["features"])
            store.write_bytes(tables.replaced(work.output, work.attempt, file), tables.parquet(gone), True)
        _check_lock(work)
        rewrite.replace(location, paths, _table(listed, done, rows, schema, work))


def featurize(data: bytes | Rejected, network: Network, limits: Limits) -> Outcome:
    """Turn one photo's bytes into features ``(1280,)`` float32, or say why not."""
    try:
        if isinstance(data, Rejected):
            raise data
        photo = decode(data, limits)
    except Rejected as rejected:
        return Outcome(reason=rejected.reason, detail=rejected.detail)
    sha256 = hashlib.sha256(data).hexdigest()
    return Outcome(network(photo.pixels), sha256, photo.width, photo.height)


def _table(
    listed: pa.RecordBatch, done: list[Outcome], rows: list[int], schema: pa.Schema, work: Work
) -> pa.Table:
    """Put what the inventory knows and what became of each photo side by side, for one table, by path."""
    wants_features = "features" in schema.names
    chosen = [row for row in rows if (done[row].features is not None) == wants_features]
    kept, outcomes = listed.take(pa.array(chosen, pa.int64())), [done[row] for row in chosen]
    columns: dict[str, Any] = {name: kept.column(name) for name in listed.schema.names}
    columns |= {name: [getattr(outcome, name) for outcome in outcomes] for name in Outcome._fields}
    columns |= {"backbone": [work.backbone] * len(chosen), "run_id": [work.run_id] * len(chosen)}
    if wants_features and chosen:
        columns["features"] = tables.vectors(np.vstack(columns["features"]))
    return pa.table({name: columns[name] for name in schema.names}, schema=schema).sort_by("path")


@cache
def _pool(requests: int) -> ThreadPoolExecutor:
    """Return this worker's threads for fetching, kept from task to task."""
    return ThreadPoolExecutor(requests, thread_name_prefix="fetch")
