"""Spark with Delta Lake as a reader of Delta tables, in a process of its own.

The suite's own session knows no Delta Lake: a small one is started for it here. Its jars come from Maven
Central through Spark's Ivy; where they cannot be had a test is skipped, but never in CI.
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
# What Ivy says of a package that it does not get: no description of it, or no jar.
LACKING: Final = re.compile(r"\[(?:unresolved dependency|download failed): ([^\s:\]]+)", re.IGNORECASE)
GONE: Final = ("FileNotFoundException", "FILE_NOT_EXIST", "FILE_NOT_FOUND")
HANGS_SECONDS: Final = 420  # until a reader ends itself; the first time some hundred MB may have to come
PAUSE_SECONDS: Final = 0.05
NAMED: Final = 5  # so many paths a violation names

Load = Callable[..., DataFrame]


@dataclass
class Report:
    """What a reader has seen: how many snapshots, their versions, those that lacked a file, violations."""

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
            if not any(word in str(error) for word in GONE):
                raise
            # A sweep follows the commit that removes a file: whoever loads again must find a later version.
            if version in self.swept:
                self._violated(f"version {version} is the newest and lacks a file")
            self.swept.add(version)
            return
        self.snapshots += 1
        self.versions.add(version)
        twice = sorted(path for path, times in paths.items() if times > 1)
        for what, wrong in (("twice", twice), ("missing", sorted(always - paths.keys()))):
            if wrong:
                self._violated(f"version {version}: {len(wrong)} {what}: {wrong[:NAMED]}")

    def _violated(self, sentence: str) -> None:
        if sentence not in self.violations:
            self.violations.append(sentence)


class Reader:
    """A running reader, and the file of its errors."""

    def __init__(self, process: BaseProcess, line: Connection, errors: Path) -> None:
        self._process, self._line, self._errors = process, line, errors

    def answer(self) -> Any:
        """Return its next answer; raise AssertionError with its last words if it has died."""
        try:
            return self._line.recv()
        except EOFError:
            self._process.join()
        words = self._errors.read_text(errors="replace")
        if packages := {*LACKING.findall(words)}:
            reason = f"Maven Central does not give {', '.join(sorted(packages))}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        raise AssertionError(f"the reader has ended, exit code {self._process.exitcode}: {words[-3000:]}")

    def look(self) -> None:
        """Wait until it has read the version that is the newest now."""
        self._line.send("look")
        assert self.answer() == "seen"

    def stop(self) -> Report:
        """End a reader that :func:`reading` has started, once it has read the newest version once more."""
        self._line.send("stop")
        report: Report = self.answer()
        return report


def read(location: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return some columns of a table's newest version, rows in no order; timestamps say that they are UTC."""
    with _started(_read, location, columns) as reader:
        rows: list[dict[str, Any]] = reader.answer()
    return rows


@contextmanager
def reading(location: Path, always: Sequence[str]) -> Iterator[Reader]:
    """Read a table, which exists, again and again while the block runs, each time its newest version.

    The block begins when a first snapshot has been read; :meth:`Reader.stop` in it returns the report. A
    violation is a path that is in a snapshot twice, a path of `always` that is not in it, or a snapshot that
    still is the newest although one of its files is gone. A file swept while an older one is read is none.
    """
    with _started(_watch, location, always) as reader:
        assert reader.answer() == "ready"
        yield reader


@contextmanager
def _started(
    work: Callable[[Load, Sequence[str], Connection], None], location: Path, names: Sequence[str]
) -> Iterator[Reader]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = context.Process(target=_start, args=(work, theirs, folder, str(location), names))
        process.start()
        theirs.close()
        try:
            yield Reader(process, ours, Path(folder, "errors"))
        finally:
            process.kill()  # its JVM ends with it
            process.join()


def _start(
    work: Callable[[Load, Sequence[str], Connection], None],
    line: Connection,
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
    faulthandler.dump_traceback_later(HANGS_SECONDS, exit=True)
    packages = DELTA[pyspark.__version__]
    spark = SparkSession.builder.config(map={**SETTINGS, "spark.jars.packages": packages}).getOrCreate()
    work(lambda *columns: spark.read.format("delta").load(location).select(*columns), names, line)


def _read(load: Load, columns: Sequence[str], line: Connection) -> None:
    table = load(*columns)
    zoned = [column.name for column in table.schema if isinstance(column.dataType, TimestampType)]
    rows = [row.asDict(recursive=True) for row in table.collect()]
    for row in rows:
        row.update({name: row[name].replace(tzinfo=UTC) for name in zoned if row[name]})
    line.send(rows)


def _watch(load: Load, always: Sequence[str], line: Connection) -> None:
    """Look at the newest snapshot again and again, for the last time after it is told to stop."""
    report, order = Report(), ""
    while not (report.snapshots or report.violations):
        report.look(load("path", "outcome"), set(always))
    line.send("ready")
    while order != "stop":
        order = line.recv() if line.poll(PAUSE_SECONDS) else ""
        faulthandler.dump_traceback_later(HANGS_SECONDS, exit=True)
        report.look(load("path", "outcome"), set(always))
        if order == "look":
            line.send("seen")
    line.send(report)


def _version_of(table: DataFrame) -> int:
    """Return the version that a frame is pinned to: its plan has it, no public function tells."""
    plan: Any = table._jdf.queryExecution().optimizedPlan()
    return int(plan.collectLeaves().head().relation().location().version())
