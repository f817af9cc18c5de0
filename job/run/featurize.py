"""Featurizing: each Spark task fetches, decodes and infers the photos of one inventory task.

Spark gives a worker a task number. The worker writes one Parquet file of features and one of rejected photos
directly, because Spark's writer would convert the 1280 numbers to a row and back, a third of a millisecond a
photo. File names are unique, and an accumulator reports them; Spark counts each task once, however often it
runs. The driver commits the reported files in waves while tasks run.

The network's bytes are broadcast once; a worker builds its network in its first task and keeps it.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import AccumulatorParam

from job.inventory import tasks
from job.inventory.tasks import Tasks
from job.network import backbone
from job.network.backbone import Backbone, Network
from job.photos.decode import Limits, Rejected, decode
from job.photos.fetch import REQUESTS_FOLDER, REQUESTS_S3, fetch
from job.storage import store
from job.table import files, layout, schema
from job.table.layout import DataFile, Report

if TYPE_CHECKING:
    from pyspark import Accumulator, Broadcast
    from pyspark.sql import SparkSession


@dataclass(frozen=True, slots=True)
class Work:
    """What all tasks of a run share; `tasks` and `output` are locations.

    `command` is the run's number among the commands that wrote to the output. `payload` holds the broadcast
    network's bytes; `reports` collects the reports of all workers.
    """

    tasks: str
    output: str
    command: int
    engine: str
    key: str
    payload: "Broadcast[Any]"
    backbone: str
    run_id: str
    limits: Limits
    reports: "Accumulator[list[Report]]"


class _Gathered(AccumulatorParam[list[Report]]):
    """Concatenates the lists of all tasks."""

    def zero(self, value: list[Report]) -> list[Report]:
        """Return an empty list."""
        del value
        return []

    def addInPlace(self, value1: list[Report], value2: list[Report]) -> list[Report]:  # noqa: N802 (PySpark's)
        """Return the first list, extended by the second."""
        value1.extend(value2)
        return value1


def plan(
    spark: "SparkSession",
    todo: Tasks,
    output: str,
    network: Backbone,
    limits: Limits,
    run_id: str,
    command: int,
) -> tuple[Callable[[], None], Callable[[], list[Report]]]:
    """Return a function that runs a Spark task for each of `todo`, and one that returns the reports so far.

    The network is broadcast here, once. Each row holds `run_id`, and each file's name holds `command`, the
    writer's number.
    """
    context = spark.sparkContext
    reports: Accumulator[list[Report]] = context.accumulator([], _Gathered())
    work = Work(
        tasks=todo.location,
        output=output,
        command=command,
        engine=network.engine,
        key=network.key,
        payload=context.broadcast(network.payload),
        backbone=network.name,
        run_id=run_id,
        limits=limits,
        reports=reports,
    )
    numbers = context.range(todo.tasks, numSlices=todo.tasks)
    return lambda: numbers.foreach(partial(run_task, work)), lambda: reports.value


class Outcome(NamedTuple):
    """The features of one photo, or the reason for its rejection. Its fields are columns of the table."""

    features: NDArray[np.float32] | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    reason: str | None = None
    detail: str | None = None


def run_task(work: Work, number: int) -> None:
    """Featurize the photos of one task, write their rows, and report the files."""
    network = backbone.network(work.engine, work.key, lambda: work.payload.value)
    listed = tasks.read(work.tasks, number)
    stream = outcomes(listed, network, work.limits)
    done, first = [next(stream)], time.time()
    done.extend(stream)
    written, replaced = _write(listed, done, number, work)
    work.reports.add([Report(number, written, replaced, len(done), first)])


def outcomes(listed: pa.RecordBatch, network: Network, limits: Limits) -> Iterator[Outcome]:
    """Fetch and featurize photos, and yield their outcomes in order."""
    paths, sizes = listed.column("path").to_pylist(), listed.column("bytes").to_pylist()
    rows = [{"path": path, "bytes": size} for path, size in zip(paths, sizes, strict=True)]
    requests = REQUESTS_S3 if any(store.is_s3(path) for path in paths) else REQUESTS_FOLDER
    for _, data in fetch(rows, _pool(requests), requests, limits.max_bytes):
        yield featurize(data, network, limits)


def _write(
    listed: pa.RecordBatch, done: list[Outcome], number: int, work: Work
) -> tuple[list[DataFile], list[str]]:
    """Write a task's rows, and return the new files and the paths of the files that they replace.

    A replaced file's unchanged rows are copied into its new file; new photos get a file of their own.
    """
    rows = _rows(listed, done, work)
    paths, replaces = listed.column("path").to_pylist(), listed.column("replaces").to_pylist()
    changed: defaultdict[str, list[str]] = defaultdict(list)
    for path, file in zip(paths, replaces, strict=True):
        if file is not None:
            changed[file].append(path)
    written: list[DataFile] = []

    def add(outcome: str, rows: pa.Table) -> None:
        if len(rows):
            path = layout.data_path(outcome, work.command, number, len(written))
            written.append(files.write(work.output, path, rows))

    for outcome, table in rows.items():
        rest = table
        for file in changed:
            if layout.outcome_of(file) == outcome:
                mine = files.photo_mask(rest, changed[file])
                left = files.rows_without(files.location(work.output, file), changed[file])
                whole = pa.concat_tables([left, rest.filter(mine)])
                rest = rest.filter(pc.invert(mine))
                add(outcome, whole)
        add(outcome, rest)
    return written, list(changed)


def featurize(data: bytes | Rejected, network: Network, limits: Limits) -> Outcome:
    """Turn one photo's bytes into features ``(1280,)`` float32, or the reason for its rejection."""
    if isinstance(data, Rejected):
        return Outcome(reason=data.reason, detail=data.detail)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        photo = decode(data, limits)
    except Rejected as rejected:
        return Outcome(sha256=sha256, reason=rejected.reason, detail=rejected.detail)
    return Outcome(network(photo.pixels), sha256, photo.width, photo.height)


def _rows(listed: pa.RecordBatch, done: list[Outcome], work: Work) -> dict[str, pa.Table]:
    """Join the listed photos with their outcomes: the rows of the table for each outcome."""
    found = {}
    for name in (layout.FEATURIZED, layout.REJECTED):
        good = name == layout.FEATURIZED
        chosen = [row for row, outcome in enumerate(done) if (outcome.features is not None) == good]
        outcomes = [done[row] for row in chosen]
        kept = listed.take(pa.array(chosen, pa.int64()))
        columns: dict[str, Any] = {column: kept.column(column) for column in schema.LISTED.names}
        columns |= {column: [getattr(one, column) for one in outcomes] for column in Outcome._fields}
        columns |= {"backbone": [work.backbone] * len(chosen), "run_id": [work.run_id] * len(chosen)}
        if good and chosen:
            columns["features"] = files.vectors(np.vstack(columns["features"]))
        arrays = {column: columns[column] for column in schema.PHOTOS.names}
        found[name] = pa.table(arrays, schema=schema.PHOTOS)
    return found


@cache
def _pool(requests: int) -> ThreadPoolExecutor:
    """Return this worker's threads for fetching, kept from task to task."""
    return ThreadPoolExecutor(requests, thread_name_prefix="fetch")
