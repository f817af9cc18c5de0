"""The program that reads Delta tables for :mod:`tests.delta_spark`: a small Spark session with Delta Lake.

``python -P tests/delta_reader.py read|watch LOCATION`` takes a JSON list of names on its first line of input:
columns to read, or paths that are always there. It answers with pickled objects on its output, and watches
until its input is closed.
"""

import faulthandler
import json
import os
import pickle
import select
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Final

import pyspark
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import TimestampType

# Delta Lake for the Spark in use (4.1.0 is for Spark 4.1.0 and 4.1.1 only), and S3A of the Hadoop inside it.
DELTA: Final = {"3.5.6": "io.delta:delta-spark_2.12:3.3.2", "4.1.1": "io.delta:delta-spark_4.1_2.13:4.1.0"}
S3A: Final = {
    "3.5.6": "org.apache.hadoop:hadoop-aws:3.3.4,com.amazonaws:aws-java-sdk-bundle:1.12.262",
    "4.1.1": "org.apache.hadoop:hadoop-aws:3.4.2,software.amazon.awssdk:bundle:2.29.52",
}
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
START_SECONDS: Final = 420  # the first time some hundred MB may have to come
READ_SECONDS: Final = 120
PAUSE_SECONDS: Final = 0.05
NAMED: Final = 5  # so many paths a violation names
GONE: Final = ("FileNotFoundException", "FILE_NOT_EXIST", "FILE_NOT_FOUND")

Tell = Callable[[object], None]


def session(location: str) -> SparkSession:
    """Start Spark with Delta Lake and, for a table on S3, with S3A."""
    packages, settings = DELTA[pyspark.__version__], {**SETTINGS}
    if location.startswith("s3a://"):
        packages = f"{packages},{S3A[pyspark.__version__]}"
        settings["spark.hadoop.fs.s3a.path.style.access"] = "true"
        settings["spark.hadoop.fs.s3a.endpoint.region"] = os.environ.get("AWS_REGION", "us-east-1")
        settings["spark.hadoop.fs.s3a.endpoint"] = os.environ.get("AWS_ENDPOINT_URL", "")
    return SparkSession.builder.config(map={**settings, "spark.jars.packages": packages}).getOrCreate()


def rows_of(table: DataFrame) -> list[dict[str, Any]]:
    """Return rows; Spark's own timestamps say their zone, which is this process's, and UTC."""
    zoned = [column.name for column in table.schema if isinstance(column.dataType, TimestampType)]
    rows = [row.asDict(recursive=True) for row in table.collect()]
    for row in rows:
        row.update({name: row[name].replace(tzinfo=UTC) for name in zoned if row[name]})
    return rows


def version_of(table: DataFrame) -> int:
    """Return the version that a frame is pinned to: its plan has it, no public function tells."""
    plan: Any = table._jdf.queryExecution().optimizedPlan()
    return int(plan.collectLeaves().head().relation().location().version())


@dataclass
class Watch:
    """What has been seen so far."""

    always: set[str]
    snapshots: int = 0
    versions: set[int] = field(default_factory=set)
    failed: list[int] = field(default_factory=list)  # the version of each read that found a file gone
    violations: dict[str, None] = field(default_factory=dict)  # each once, in the order they were seen

    def look(self, table: DataFrame) -> None:
        """Read one snapshot's paths and outcomes."""
        version = version_of(table)
        try:
            paths = Counter(row["path"] for row in table.collect())
        except (Py4JJavaError, PySparkException) as error:
            if not any(word in str(error) for word in GONE):
                raise
            # A sweep follows the commit that removes a file: whoever loads again must find a later version.
            if version in self.failed:
                self.violations[f"version {version} is the newest and lacks a file"] = None
            self.failed.append(version)
            return
        self.snapshots += 1
        self.versions.add(version)
        twice = sorted(path for path, times in paths.items() if times > 1)
        for what, wrong in (("twice", twice), ("missing", sorted(self.always - paths.keys()))):
            if wrong:
                self.violations[f"version {version}: {len(wrong)} {what}: {wrong[:NAMED]}"] = None

    def report(self) -> dict[str, Any]:
        """Return the fields of a :class:`tests.delta_spark.Report`."""
        found = {"snapshots": self.snapshots, "versions": sorted(self.versions)}
        return {**found, "swept": len(self.failed), "violations": list(self.violations)}


def watch(load: Callable[[], DataFrame], seen: Watch, tell: Tell) -> None:
    """Look at the newest snapshot again and again, for the last time after it is told to stop."""
    while not (seen.snapshots or seen.violations):
        seen.look(load())
    tell("ready")
    closed = False
    while not closed:
        closed = bool(select.select([0], [], [], PAUSE_SECONDS)[0])
        faulthandler.dump_traceback_later(READ_SECONDS, exit=True)
        seen.look(load())
    tell(seen.report())


def work(task: str, location: str, names: list[str], tell: Tell) -> None:
    """Do one task; a process that hangs ends itself, and says where it was."""
    faulthandler.dump_traceback_later(START_SECONDS, exit=True)
    spark = session(location)

    def load(*columns: str) -> DataFrame:
        return spark.read.format("delta").load(location).select(*columns)

    if task == "read":
        tell(rows_of(load(*names)))
    else:
        watch(lambda: load("path", "outcome"), Watch(set(names)), tell)


def main(task: str, location: str) -> None:
    """Keep the output for answers: whatever else is printed goes with the errors."""
    names = json.loads(sys.stdin.readline())
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)

        def tell(message: object) -> None:
            pickle.dump(message, answers)
            answers.flush()

        work(task, location, names, tell)


if __name__ == "__main__":
    main(*sys.argv[1:])
