"""Measure (o), the driver: does the driver's part of a run on millions of new photos, without a photo.

``--make`` writes a list of invented photos. A second process does what the driver does, with the job's own
code and a local Spark session: it sorts the list, writes the tasks, runs them, commits their reports, checks
them, merges the last moments, and ends the run. Only what executors do is replaced: a task makes the empty
files that it reports, and moments are random. ``python -m scripts.bench.driver FOLDER --photos N`` prints
seconds, peak memory and Java's heap of each step as JSON.
"""

import argparse
import gc
import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

import numpy as np
from pyspark import SparkContext

from job.inventory import listing
from job.inventory.listing import Source
from job.inventory.tasks import Tasks
from job.maths.grouped_moments import GroupedMoments, LabelSum, TableMoments
from job.maths.moments import Moments
from job.model import incremental_moments, spark_passes
from job.model.incremental_moments import SavedMoments
from job.network.backbone import FEATURES, Backbone
from job.photos.decode import DEFAULT_LIMITS
from job.run import featurize
from job.run.featurize import Work
from job.spark import imports, session
from job.storage import store
from job.table import commits, layout
from job.table.layout import DataFile, Report
from job.table.writer import Writer, exclusive_writer
from scripts.bench import comparison, synthetic_table
from scripts.bench.process import PROC, peak_bytes

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PHOTOS_PER_TASK: Final = 1000  # a wave's
TASKS_PER_COMMIT: Final = (
    144  # of 600 workers, each with 80 photos a second, in the 3 seconds between commits
)
NETWORK_BYTES: Final = 9_000_000
FILE_BYTES: Final = 4_600_000  # of a thousand photos
SPLITS: Final = ("Test", "Training")
LABELS: Final = 131
MODEL_ID: Final = "0" * 16
# As on a cluster, Spark keeps its records of the tasks for its pages.
SPARK: Final = "--conf spark.ui.enabled=true --conf spark.ui.port=0"
COLLECTION_SECONDS: Final = 10.0  # between two measurements of the heap
PEAK_RESET: Final = "5"  # what resets VmHWM, see proc(5) on clear_refs


@dataclass(slots=True)
class Steps:
    """The seconds, the CPU seconds and the peak resident memory of this process in each step.

    Memory is None where there is no ``/proc``.
    """

    figures: dict[str, dict[str, Any]] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Measure a block; it may add figures of its own."""
        with suppress(OSError):
            (PROC / "self" / "clear_refs").write_text(PEAK_RESET)
        start, cpu_start, figures = time.monotonic(), time.process_time(), dict[str, Any]()
        yield figures
        self.figures[name] = {
            "seconds": round(time.monotonic() - start, 3),
            "cpu_seconds": round(time.process_time() - cpu_start, 3),
            "peak_bytes": peak_bytes(os.getpid()),
            **figures,
        }


class Heap:
    """The heap of Spark's JVM: what remains of it after collections, which run every few seconds."""

    def __init__(self, context: SparkContext) -> None:
        java: Any = context._jvm
        self._java = java.java.lang
        self._stop = threading.Event()
        self.live_bytes = 0

    def collect(self) -> None:
        """Collect garbage, and count what remains."""
        self._java.System.gc()
        used = self._java.management.ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed()
        self.live_bytes = max(self.live_bytes, used)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Measure the heap during a block and at its end."""

        def watch() -> None:
            while not self._stop.wait(COLLECTION_SECONDS):
                self.collect()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        self.collect()

    def other_bytes(self) -> int:
        """Return the bytes of the JVM beside its heap: classes, compiled code and direct buffers."""
        beans = self._java.management
        pools = beans.ManagementFactory.getPlatformMXBeans(beans.BufferPoolMXBean._java_lang_class)
        other = beans.ManagementFactory.getMemoryMXBean().getNonHeapMemoryUsage().getCommitted()
        return int(other + sum(pool.getMemoryUsed() for pool in pools))


def report_files(work: Work, number: int) -> None:
    """Do a task's part for the driver."""
    work.reports.add([make_files(work.output, work.command, number)])
    imports.keep_directories()
    gc.freeze()  # between tasks, Spark collects the garbage of the worker


def make_files(output: str, command: int, number: int) -> Report:
    """Make a task's files, empty ones, and return its report.

    Few tasks reject a photo, so that each writes a file of features and one of rejected photos is an upper
    bound.
    """
    featurized, rejected = (
        layout.data_path(outcome, command, number, part)
        for part, outcome in enumerate((layout.FEATURIZED, layout.REJECTED))
    )
    data = (f"{layout.PHOTOS}/{path}" for path in (featurized, rejected))
    for path in (*data, *layout.matrix_paths(featurized, MODEL_ID)):
        Path(store.join(output, path)).touch()
    written = [DataFile(featurized, FILE_BYTES, PHOTOS_PER_TASK - 1), DataFile(rejected, 10_000, 1)]
    return Report(number, written, [], PHOTOS_PER_TASK, time.time())


def reported_outcomes(_output: str, _tasks: str, report: Report, _rows: dict[str, int]) -> Counter[str]:
    """Return the counts of a task whose files are not read."""
    return Counter({"": report.photos - 1, "truncated": 1})


def random_moments(number: int) -> TableMoments:
    """Return moments of Training and Test with the labels of Fruits-360, as a task sends them."""
    rng = np.random.default_rng(number)

    def moments() -> Moments:
        return Moments(1000, rng.random(FEATURES), rng.random((FEATURES, FEATURES)))

    names = [(split, f"label {label}") for split in SPLITS for label in range(LABELS)]
    labels = {name: LabelSum(10, rng.random(FEATURES)) for name in names}
    features, roots = ({split: moments() for split in SPLITS} for _ in range(2))
    return TableMoments(GroupedMoments(FEATURES, features), GroupedMoments(FEATURES, roots, labels))


def parts_on_driver(shares: int) -> int:
    """Return how many partial moments the driver merges, as ``spark_passes.moments`` and treeReduce do."""
    if shares <= spark_passes.MERGED_ON_DRIVER:
        return shares
    scale = max(math.ceil(shares ** (1 / spark_passes.MERGE_DEPTH)), 2)
    parts = float(shares)
    while parts > scale + parts / scale:
        parts /= scale
    return int(parts)


def figures(folder: Path, photos: int, cores: int, is_whole: bool) -> dict[str, Any]:
    """Do the driver's part of a run on `photos` photos; if it is not whole, without inventory and Spark."""
    steps, output, java = Steps(), str(folder / "output"), dict[str, int]()
    with ExitStack() as stack:
        first_actions = synthetic_table.first_actions(output)
        writer = stack.enter_context(exclusive_writer(output, "bench", "run", first_actions=first_actions))
        _make_folders(output)
        if is_whole:
            tasks = _with_spark(steps, folder, writer, cores, java)
        else:
            tasks = -(-photos // PHOTOS_PER_TASK)
            _commit_reports(steps, writer, tasks)
            parts = _part_count(writer)
            _merge_moments(
                steps, writer, lambda: reduce(TableMoments.merge, list(map(random_moments, range(parts))))
            )
        with steps.step("end") as ended:
            ended["files"] = len(writer.snapshot.files)
            stack.close()
    with steps.step("open") as opened:
        snapshot = commits.load(output)
        opened["commits"] = snapshot.version if snapshot else -1
        checkpoints = store.list_files(store.join(output, layout.PHOTOS, commits.LOG), commits.CHECKPOINT)
        opened["bytes"] = max((size for _, size in checkpoints), default=0)
    right = snapshot is not None and snapshot.rows(layout.FEATURIZED) == tasks * (PHOTOS_PER_TASK - 1)
    return {"photos": photos, "tasks": tasks, "right": right, "java": java, "steps": steps.figures}


def _make_folders(output: str) -> None:
    data = (f"{layout.PHOTOS}/outcome={name}/-" for name in (layout.FEATURIZED, layout.REJECTED))
    for path in (*data, *layout.matrix_paths("-", MODEL_ID)):
        Path(store.join(output, path)).parent.mkdir(parents=True)
    store.write_bytes(store.join(output, layout.CURRENT_MODEL), json.dumps({"model_id": MODEL_ID}).encode())


def _commit_reports(steps: Steps, writer: Writer, tasks: int) -> None:
    """Commit the reports of tasks that come as fast as those of the largest size."""
    with steps.step("featurize"):
        reports: list[Report] = []
        for start in range(0, tasks, TASKS_PER_COMMIT):
            numbers = range(start, min(start + TASKS_PER_COMMIT, tasks))
            reported = [make_files(writer.output, writer.number, number) for number in numbers]
            reports += reported
            writer.commit(file for report in reported for file in report.written)


def _with_spark(steps: Steps, folder: Path, writer: Writer, cores: int, java: dict[str, int]) -> int:
    """Take the inventory, do the driver's part of Spark's passes, and return the number of tasks.

    `java` receives the bytes of Java's heap, and of the rest of Java.
    """
    source = Source((), writer.output, manifest=str(_list_file(folder)))
    with steps.step("inventory") as figures:
        inventory = listing.take_inventory(source, writer, comparison.BACKBONE, cores, PHOTOS_PER_TASK)
        figures["bytes"] = sum(size for _, size in store.list_files(inventory.tasks.location))
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"{SPARK} {os.environ['PYSPARK_SUBMIT_ARGS']}"
    with steps.step("spark"):
        spark = session.start(os.environ, folder)
    try:
        heap = Heap(spark.sparkContext)
        with heap.watched():
            _run_tasks(steps, spark, writer, inventory.tasks)
        parts = _part_count(writer)
        numbers = spark.sparkContext.range(parts, numSlices=parts)
        _merge_moments(steps, writer, lambda: numbers.map(random_moments).reduce(TableMoments.merge))
        java |= {"heap": heap.live_bytes, "beside": heap.other_bytes()}
    finally:
        session.stop(spark)
    return inventory.tasks.tasks


def _run_tasks(steps: Steps, spark: "SparkSession", writer: Writer, todo: Tasks) -> None:
    """Run a task of Spark for each of the inventory's, commit the reports, and check them."""
    network = Backbone("litert", os.urandom(NETWORK_BYTES), "key", comparison.BACKBONE, "nowhere")
    output, run_id, limits = writer.output, writer.run_id, DEFAULT_LIMITS
    run_tasks, reports = featurize.plan(spark, todo, output, network, limits, run_id, writer.number)
    with (
        steps.step("featurize"),
        patch.object(featurize, "run_task", report_files),
        writer.committing_reports(reports, spark.sparkContext.cancelAllJobs),
    ):
        run_tasks()
    with steps.step("reconcile"), patch.object(spark_passes, "_task_outcomes", reported_outcomes):
        counts = spark_passes.outcome_counts(spark, output, todo, reports(), {})
    assert counts[""] == todo.tasks * (PHOTOS_PER_TASK - 1), counts


def _part_count(writer: Writer) -> int:
    """Return how many partial moments come to the driver, as many as of a small table at least."""
    featurized = writer.snapshot.files_of(layout.FEATURIZED)
    shares = -(-len(featurized) // spark_passes.FILES_PER_SUM)
    return max(parts_on_driver(shares), spark_passes.MERGED_ON_DRIVER)


def _merge_moments(steps: Steps, writer: Writer, merge: Callable[[], TableMoments]) -> None:
    """Merge the last partial moments, and save the result with the names of its files."""
    with steps.step("moments"):
        rows = {file.path: file.rows for file in writer.snapshot.files_of(layout.FEATURIZED)}
        incremental_moments.save(writer.output, SavedMoments(merge(), rows))


def _list_file(folder: Path) -> Path:
    return folder / "list.parquet"


def main() -> None:
    """Write the list, or do the driver's part and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Do the driver's part of a run on many photos.")
    add = parser.add_argument
    add("folder", type=Path)
    add("--photos", type=int, required=True)
    add("--make", action="store_true", help="only write the list")
    add("--commits", action="store_true", help="leave out inventory and Spark: only commits and moments")
    add("--cores", type=int, default=1, help="the cores that Spark would have, for the inventory")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if options.make:
        roles = np.full(options.photos, comparison.NEW, np.int8)
        comparison.write_list(_list_file(folder), np.arange(options.photos), roles)
        print("{}")
    else:
        print(json.dumps(figures(folder, options.photos, options.cores, not options.commits)))


if __name__ == "__main__":
    main()
