"""The heart of the run: each Spark task fetches, decodes and infers the photos of one inventory task.

Spark hands a worker a task number. The worker writes a Parquet file of features, and one of rejected photos
if there are any, straight from its memory: through Spark's writer every one of the 1280 numbers would be
turned into a row's and back, which costs a third of a millisecond a photo. A file gets a name that no other
has, and is reported by an accumulator, of which Spark counts each task once, however often it runs. What was
reported the driver commits, wave by wave, while the tasks run on.

The network's bytes are broadcast once; a worker builds its network from them on its first task and keeps it.
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
    """What every task of a run is told, beside its number; `tasks` and `output` are locations.

    `command` is the number of the run among the commands that wrote to the output. `payload` holds the
    broadcast network's bytes; `reports` gathers, over all workers, what was written.
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
    """Adds up lists by joining them."""

    def zero(self, value: list[Report]) -> list[Report]:
        """Return an empty list."""
        del value
        return []

    def addInPlace(self, value1: list[Report], value2: list[Report]) -> list[Report]:  # noqa: N802 (PySpark's)
        """Return the longer list."""
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
    """Return what does the work, a Spark task for each of `todo`, and what tells the reports so far.

    The network is broadcast here, once. `run_id` stands in each row, and `command`, the writer's number, in
    the name of each file.
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
    """What became of one photo: features, or a reason. Its fields are columns of the table."""

    features: NDArray[np.float32] | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    reason: str | None = None
    detail: str | None = None


def run_task(work: Work, number: int) -> None:
    """Write the features of one task's photos, and the list of those rejected, and report the files."""
    network = backbone.network(work.engine, work.key, lambda: work.payload.value)
    listed = tasks.read(work.tasks, number)
    stream = outcomes(listed, network, work.limits)
    done, first = [next(stream)], time.time()
    done.extend(stream)
    written, replaced = _write(listed, done, number, work)
    work.reports.add([Report(number, written, replaced, len(done), first)])


def outcomes(listed: pa.RecordBatch, network: Network, limits: Limits) -> Iterator[Outcome]:
    """Fetch and featurize photos, in their order."""
    paths, sizes = listed.column("path").to_pylist(), listed.column("bytes").to_pylist()
    rows = [{"path": path, "bytes": size} for path, size in zip(paths, sizes, strict=True)]
    requests = REQUESTS_S3 if any(store.is_s3(path) for path in paths) else REQUESTS_FOLDER
    for _, data in fetch(rows, _pool(requests), requests, limits.max_bytes):
        yield featurize(data, network, limits)


def _write(
    listed: pa.RecordBatch, done: list[Outcome], number: int, work: Work
) -> tuple[list[DataFile], list[str]]:
    """Write a task's rows: with the rows that stay of a file that is replaced, or in a file of their own.

    Return the files written, and the paths of those that they replace.
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
    """Turn one photo's bytes into features ``(1280,)`` float32, or say why not."""
    if isinstance(data, Rejected):
        return Outcome(reason=data.reason, detail=data.detail)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        photo = decode(data, limits)
    except Rejected as rejected:
        return Outcome(sha256=sha256, reason=rejected.reason, detail=rejected.detail)
    return Outcome(network(photo.pixels), sha256, photo.width, photo.height)


def _rows(listed: pa.RecordBatch, done: list[Outcome], work: Work) -> dict[str, pa.Table]:
    """Put what was listed and what became of each photo side by side: rows of the table, by outcome."""
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
