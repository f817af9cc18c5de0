"""Reads Delta tables with Spark and Delta Lake, in a process of its own.

The suite's own session lacks Delta Lake, so a small one is started here. Its jars come from Maven Central
through Spark's Ivy; a test that cannot get them is skipped, but never in CI.
"""

import faulthandler
import multiprocessing
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import pyspark
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import TimestampType

# Delta Lake for the Spark in use; 4.1.0 is for Spark 4.1.0 and 4.1.1 only.
DELTA: Final = {"3.5.6": "io.delta:delta-spark_2.12:3.3.2", "4.1.1": "io.delta:delta-spark_4.1_2.13:4.1.0"}
SETTINGS: Final = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    # A small session: one core, one task a stage, compiled by C1 alone; nothing listens beyond loopback.
    "spark.master": "local[1]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "OFF",
}
# Ivy's message about a package without a description or a jar.
MISSING_PACKAGE: Final = re.compile(
    r"\[(?:unresolved dependency|download failed): ([^\s:\]]+)", re.IGNORECASE
)
MISSING_FILE: Final = ("FileNotFoundException", "FILE_NOT_EXIST", "FILE_NOT_FOUND")
HANG_SECONDS: Final = 420  # until a hanging reader ends itself; it may first fetch some hundred MB
PAUSE_SECONDS: Final = 0.05
NAMED_PATHS: Final = 5  # the most that a violation names

Load = Callable[..., DataFrame]


@dataclass
class Report:
    """The snapshots that a reader has read, their versions, those that lacked a file, and violations."""

    snapshots: int = 0
    versions: set[int] = field(default_factory=set)
    swept: set[int] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)

    def look(self, table: DataFrame, always: set[str]) -> None:
        """Read one snapshot's paths and outcomes."""
        version = _version_of(table)
        try:
            paths = Counter(row["path"] for row in table.collect())
        except (Py4JJavaError, PySparkException) as error:
            if not any(word in str(error) for word in MISSING_FILE):
                raise
            # A sweep follows the commit that removes a file, so the next load must return a later version.
            if version in self.swept:
                self._add_violation(f"version {version} is the newest and lacks a file")
            self.swept.add(version)
            return
        self.snapshots += 1
        self.versions.add(version)
        repeated = sorted(path for path, times in paths.items() if times > 1)
        for fault, faulty in (("twice", repeated), ("missing", sorted(always - paths.keys()))):
            if faulty:
                self._add_violation(f"version {version}: {len(faulty)} {fault}: {faulty[:NAMED_PATHS]}")

    def _add_violation(self, sentence: str) -> None:
        if sentence not in self.violations:
            self.violations.append(sentence)


class Reader:
    """A running reader: its process, the connection to it, and the file of its errors."""

    def __init__(self, process: BaseProcess, connection: Connection, errors: Path) -> None:
        self._process, self._connection, self._errors = process, connection, errors

    def answer(self) -> Any:
        """Return the next answer; raise AssertionError with the last errors if the process has ended."""
        try:
            return self._connection.recv()
        except EOFError:
            self._process.join()
        errors = self._errors.read_text(errors="replace")
        if packages := {*MISSING_PACKAGE.findall(errors)}:
            reason = f"Maven Central does not give {', '.join(sorted(packages))}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        raise AssertionError(f"the reader has ended, exit code {self._process.exitcode}: {errors[-3000:]}")

    def look(self) -> None:
        """Wait until the reader has read the version that is the newest now."""
        self._connection.send("look")
        assert self.answer() == "seen"

    def stop(self) -> Report:
        """Let the reader read the newest version once more, end it, and return its report."""
        self._connection.send("stop")
        report: Report = self.answer()
        return report


def read(location: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return rows of a table's newest version, in no order; timestamps are in UTC."""
    with _started(_read, location, columns) as reader:
        rows: list[dict[str, Any]] = reader.answer()
    return rows


@contextmanager
def reading(location: Path, always: Sequence[str]) -> Iterator[Reader]:
    """Read the newest version of an existing table again and again while the block runs.

    The block begins after the first snapshot; :meth:`Reader.stop` returns the report. A violation is a path
    that a snapshot holds twice, a path of `always` that it lacks, or a snapshot that is still the newest
    although one of its files is gone. A file that is swept while an older snapshot is read is no violation.
    """
    with _started(_watch, location, always) as reader:
        assert reader.answer() == "ready"
        yield reader


@contextmanager
def _started(
    work: Callable[[Load, Sequence[str], Connection], None], location: Path, names: Sequence[str]
) -> Iterator[Reader]:
    context = multiprocessing.get_context("spawn")
    own_end, reader_end = context.Pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = context.Process(target=_start, args=(work, reader_end, folder, str(location), names))
        process.start()
        reader_end.close()
        try:
            yield Reader(process, own_end, Path(folder, "errors"))
        finally:
            process.kill()  # its JVM ends with it
            process.join()


def _start(
    work: Callable[[Load, Sequence[str], Connection], None],
    connection: Connection,
    folder: str,
    location: str,
    names: Sequence[str],
) -> None:
    os.chdir(folder)
    errors = os.open("errors", os.O_CREAT | os.O_WRONLY)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    for name in [name for name in os.environ if name.startswith(("PYSPARK", "SPARK"))]:
        del os.environ[name]
    os.environ["TZ"] = "UTC"
    time.tzset()
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    packages = DELTA[pyspark.__version__]
    spark = SparkSession.builder.config(map={**SETTINGS, "spark.jars.packages": packages}).getOrCreate()
    work(lambda *columns: spark.read.format("delta").load(location).select(*columns), names, connection)


def _read(load: Load, columns: Sequence[str], connection: Connection) -> None:
    table = load(*columns)
    timestamps = [column.name for column in table.schema if isinstance(column.dataType, TimestampType)]
    rows = [row.asDict(recursive=True) for row in table.collect()]
    for row in rows:
        row.update({name: row[name].replace(tzinfo=UTC) for name in timestamps if row[name]})
    connection.send(rows)


def _watch(load: Load, always: Sequence[str], connection: Connection) -> None:
    """Read the newest snapshot again and again, for the last time after the order to stop."""
    report, order = Report(), ""
    while not (report.snapshots or report.violations):
        report.look(load("path", "outcome"), set(always))
    connection.send("ready")
    while order != "stop":
        order = connection.recv() if connection.poll(PAUSE_SECONDS) else ""
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        report.look(load("path", "outcome"), set(always))
        if order == "look":
            connection.send("seen")
    connection.send(report)


def _version_of(table: DataFrame) -> int:
    """Return the version that a frame is pinned to, from its plan; no public function returns it."""
    plan: Any = table._jdf.queryExecution().optimizedPlan()
    return int(plan.collectLeaves().head().relation().location().version())
