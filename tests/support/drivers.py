"""The job as a process of its own: started, killed, and started again."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from pyspark.java_gateway import launch_gateway

from job.spark import jvm
from tests.support.spark_session import ROOT

SECONDS: Final = 240
# With other waits of ``job.table.writer``, which come first.
WITH_WAITS: Final = """
import json, sys
from job.main import main
from job.table import writer
vars(writer).update(json.loads(sys.argv[1]))
sys.exit(main(sys.argv[2:]))
"""
# Each wave is committed at once, and nothing else: that a driver lives shows by its waves alone.
HASTY: Final = '{"POLL_SECONDS": 0.05, "COMMIT_SECONDS": 0, "HEARTBEAT_SECONDS": 600, "WATCH_SECONDS": 0.3}'


def environment(cache: Path) -> dict[str, str]:
    """Return the environment of a driver on two cores."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "FRUITS"))}
    return kept | {"FRUITS_CACHE": str(cache), "PYSPARK_SUBMIT_ARGS": "--master local[2] pyspark-shell"}


def run(cache: Path, *options: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a driver to its end."""
    return subprocess.run(
        [sys.executable, "-m", "job", *map(str, options)], capture_output=True, text=True, cwd=ROOT,
        env=environment(cache) | more, timeout=SECONDS, check=False,
    )  # fmt: skip


def start(environment: Mapping[str, str], *options: object, waits: str = HASTY) -> "subprocess.Popen[str]":
    """Start a driver in a session of its own; its output and its errors come together."""
    return subprocess.Popen(
        [sys.executable, "-c", WITH_WAITS, waits, *map(str, options)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment,
        start_new_session=True,
    )  # fmt: skip


class Jvm:
    """A JVM for one driver after the other, each of which starts Spark in it in a second."""

    def __init__(self, gateway: Any) -> None:
        self._gateway, where = gateway, gateway.gateway_parameters
        self.environment = {
            "PYSPARK_GATEWAY_PORT": str(where.port),
            "PYSPARK_GATEWAY_SECRET": where.auth_token,
            "PYSPARK_PYTHON": sys.executable,
        }

    def stop_spark(self) -> None:
        """Stop the Spark of a driver that was killed, and its workers."""
        spark = self._gateway.jvm.org.apache.spark
        spark.SparkContext.getOrCreate(spark.SparkConf(True)).stop()


@contextmanager
def running_jvm() -> Iterator[Jvm]:
    """Run a JVM on two cores, with this process's environment, which is its workers' too."""
    with pytest.MonkeyPatch.context() as patch:
        words = jvm.launch_arguments({"PYSPARK_SUBMIT_ARGS": "--master local[2] pyspark-shell"})
        patch.setenv("PYSPARK_SUBMIT_ARGS", words)
        gateway = launch_gateway()  # type: ignore[no-untyped-call]
    try:
        yield Jvm(gateway)
    finally:
        gateway.shutdown()
        gateway.proc.stdin.close()
        gateway.proc.wait(SECONDS)
