"""An executor that is lost on a cluster is told with its reason, and explains why a run has failed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from job.spark.executor_losses import Loss, explanation
from tests.conftest import ROOT

# Spark's own cluster on one machine has real executors, in processes of their own.
PROGRAM: Final = """
import os, sys, threading
from job.spark.executor_losses import ExecutorLosses
from pyspark.sql import SparkSession

session = SparkSession.builder.master("local-cluster[1,1,1024]").getOrCreate()
session.sparkContext.setLogLevel("OFF")
lost = threading.Event()

def tell(loss):
    print("lost", loss.executor, loss.reason, flush=True)
    lost.set()

losses = ExecutorLosses(session, tell)
java = session.sparkContext.parallelize([0], 1).map(lambda _: os.getppid()).collect()
print("executor", os.popen(f"ps -o ppid= -p {java[0]}").read().strip(), flush=True)
assert lost.wait(60)
losses.stop()
print("noted", losses.losses == [losses.losses[0]], flush=True)
session.stop()
"""


@pytest.mark.spark
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes as Linux names them")
def test_an_executor_that_is_killed_is_told_with_its_reason(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SPARK_WORKER_DIR": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as program:
        assert program.stdout is not None
        word, _, pid = program.stdout.readline().strip().partition(" ")
        assert word == "executor", program.communicate()[1][-2000:]
        os.kill(int(pid), signal.SIGKILL)
        output, errors = program.communicate(timeout=120)
    assert program.returncode == 0, errors[-2000:]
    assert output.splitlines() == ["lost 0 Command exited with code 137", "noted True"]


LOSSES: Final = [Loss("1", "decommissioned"), Loss("4", "exit code 137 (SIGKILL, possible container OOM)")]


def test_a_run_that_spark_gave_up_names_the_last_loss() -> None:
    sentence = explanation(LOSSES, ConnectionRefusedError(), has_stopped=True)
    assert sentence is not None
    assert sentence.startswith(
        "Spark gave up after executors were lost (2 of them, the last one with: exit code 137"
    )


def test_tasks_that_were_lost_with_their_executors_are_known_by_sparks_word() -> None:
    error = RuntimeError("Task 3 failed 8 times: ExecutorLostFailure (executor 4 exited)")
    assert explanation([], error, has_stopped=False) is not None


@pytest.mark.parametrize("losses", [[], LOSSES])
def test_losses_that_spark_has_survived_explain_no_other_error(losses: list[Loss]) -> None:
    assert explanation(losses, ValueError("a bug"), has_stopped=False) is None
    assert explanation([], ValueError("a bug"), has_stopped=True) is None
