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
# Runs the job with other waiting times of the table's writer, which its first argument holds as JSON.
PROGRAM: Final = """
import json, sys
from job.main import main
from job.table import takeover, writer
for module in (takeover, writer):
    vars(module).update(json.loads(sys.argv[1]))
sys.exit(main(sys.argv[2:]))
"""
# Each wave is committed at once. Heartbeats are too rare: a driver shows that it lives by its waves alone.
WAITS: Final = '{"POLL_SECONDS": 0.05, "COMMIT_SECONDS": 0, "HEARTBEAT_SECONDS": 600, "WATCH_SECONDS": 0.3}'


def environment(cache: Path) -> dict[str, str]:
    """Return the environment of a driver on two cores."""
    own = {"FRUITS_CACHE": str(cache), "PYSPARK_SUBMIT_ARGS": "--master local[2] pyspark-shell"}
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "FRUITS"))
    } | own


def run(cache: Path, *options: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a driver to its end."""
    return subprocess.run(
        [sys.executable, "-m", "job", *map(str, options)], capture_output=True, text=True, cwd=ROOT,
        env=environment(cache) | more, timeout=SECONDS, check=False,
    )  # fmt: skip


def start(environment: Mapping[str, str], *options: object, waits: str = WAITS) -> "subprocess.Popen[str]":
    """Start a driver in its own session; its stdout and stderr are one stream."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, waits, *map(str, options)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment,
        start_new_session=True,
    )  # fmt: skip


class Jvm:
    """A JVM that serves one driver after the other; Spark starts in it in a second."""

    def __init__(self, gateway: Any) -> None:
        self._gateway, parameters = gateway, gateway.gateway_parameters
        self.environment = {
            "PYSPARK_GATEWAY_PORT": str(parameters.port),
            "PYSPARK_GATEWAY_SECRET": parameters.auth_token,
            "PYSPARK_PYTHON": sys.executable,
        }

    def stop_spark(self) -> None:
        """Stop the Spark, and its workers, of a driver that was killed."""
        spark = self._gateway.jvm.org.apache.spark
        spark.SparkContext.getOrCreate(spark.SparkConf(True)).stop()


@contextmanager
def running_jvm() -> Iterator[Jvm]:
    """Run a JVM on two cores; it and its workers have this process's environment."""
    with pytest.MonkeyPatch.context() as patch:
        arguments = jvm.launch_arguments({"PYSPARK_SUBMIT_ARGS": "--master local[2] pyspark-shell"})
        patch.setenv("PYSPARK_SUBMIT_ARGS", arguments)
        gateway = launch_gateway()  # type: ignore[no-untyped-call]
    try:
        yield Jvm(gateway)
    finally:
        gateway.shutdown()
        gateway.proc.stdin.close()
        gateway.proc.wait(SECONDS)
