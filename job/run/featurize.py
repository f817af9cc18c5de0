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
from job.spark import imports
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
    stream = stream_outcomes(listed, network, work.limits)
    outcomes, first_photo = [next(stream)], time.time()
    outcomes.extend(stream)
    written, replaced = _write(listed, outcomes, number, work)
    work.reports.add([Report(number, written, replaced, len(outcomes), first_photo)])
    imports.keep_directories()


def stream_outcomes(listed: pa.RecordBatch, network: Network, limits: Limits) -> Iterator[Outcome]:
    """Fetch and featurize photos, and yield their outcomes in order."""
    paths, sizes = listed.column("path").to_pylist(), listed.column("bytes").to_pylist()
    rows = [{"path": path, "bytes": size} for path, size in zip(paths, sizes, strict=True)]
    requests = REQUESTS_S3 if any(store.is_s3(path) for path in paths) else REQUESTS_FOLDER
    for _, data in fetch(rows, _pool(requests), requests, limits.max_bytes):
        yield featurize(data, network, limits)


def _write(
    listed: pa.RecordBatch, outcomes: list[Outcome], number: int, work: Work
) -> tuple[list[DataFile], list[str]]:
    """Write a task's rows, and return the new files and the paths of the files that they replace.

    A replaced file's unchanged rows are copied into its new file; new photos get a file of their own.
    """
    rows_by_outcome = _rows_by_outcome(listed, outcomes, work)
    paths, replaces = listed.column("path").to_pylist(), listed.column("replaces").to_pylist()
    changed_photos: defaultdict[str, list[str]] = defaultdict(list)
    for path, file in zip(paths, replaces, strict=True):
        if file is not None:
            changed_photos[file].append(path)
    written: list[DataFile] = []

    def add(outcome: str, rows: pa.Table) -> None:
        if len(rows):
            path = layout.data_path(outcome, work.command, number, len(written))
            written.append(files.write(work.output, path, rows))

    for outcome, rows in rows_by_outcome.items():
        new = rows
        for file, changed in changed_photos.items():
            if layout.outcome_of(file) == outcome:
                is_changed = files.photo_mask(new, changed)
                unchanged = files.rows_without(files.location(work.output, file), changed)
                add(outcome, pa.concat_tables([unchanged, new.filter(is_changed)]))
                new = new.filter(pc.invert(is_changed))
        add(outcome, new)
    return written, list(changed_photos)


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


def _rows_by_outcome(listed: pa.RecordBatch, outcomes: list[Outcome], work: Work) -> dict[str, pa.Table]:
    """Return the rows of featurized and of rejected photos: what was listed joined with the outcomes."""
    rows = {}
    names = [layout.REJECTED if outcome.features is None else layout.FEATURIZED for outcome in outcomes]
    for name in (layout.FEATURIZED, layout.REJECTED):
        numbers = [number for number, of_photo in enumerate(names) if of_photo == name]
        photos = listed.take(pa.array(numbers, pa.int64()))
        columns: dict[str, Any] = {column: photos.column(column) for column in schema.LISTED.names}
        for column in Outcome._fields:
            columns[column] = [getattr(outcomes[number], column) for number in numbers]
        columns |= {"backbone": [work.backbone] * len(photos), "run_id": [work.run_id] * len(photos)}
        if name == layout.FEATURIZED and numbers:
            columns["features"] = files.vectors(np.vstack(columns["features"]))
        arrays = {column: columns[column] for column in schema.PHOTOS.names}
        rows[name] = pa.table(arrays, schema=schema.PHOTOS)
    return rows


@cache
def _pool(requests: int) -> ThreadPoolExecutor:
    """Return this worker's threads for fetching, kept from task to task."""
    return ThreadPoolExecutor(requests, thread_name_prefix="fetch")
