"""An executor that is lost on a cluster is told with its reason, and explains why a run has failed."""

from typing import Any, Final

import pytest
from pyspark.sql import SparkSession

from job.spark.executor_losses import ExecutorLosses, Loss, explanation

OUT_OF_MEMORY: Final = (
    "\nThe executor with id 2 exited with exit code 137(SIGKILL, possible container OOM).\nmore"
)


def lose(spark: SparkSession, executor: str, reason: str) -> None:
    """Have Spark believe that an executor came and went, by the events with which it tells itself."""
    jvm: Any = spark._jvm
    scheduler, bus = jvm.org.apache.spark.scheduler, spark.sparkContext._jsc.sc().listenerBus()
    no_logs = getattr(getattr(jvm.scala.collection.immutable, "Map$"), "MODULE$").empty()
    host = scheduler.cluster.ExecutorInfo("10.20.102.7", 1, no_logs)
    bus.post(scheduler.SparkListenerExecutorAdded(1, executor, host))
    bus.post(scheduler.SparkListenerExecutorRemoved(2, executor, reason))
    bus.waitUntilEmpty()


@pytest.mark.spark
def test_a_lost_executor_is_told_once_and_one_that_was_idle_is_not(spark: SparkSession) -> None:
    told: list[Loss] = []
    losses = ExecutorLosses(spark, told.append)
    losses.look()
    assert told == []
    lose(spark, "test-1", "Executor killed by driver.")
    lose(spark, "test-2", OUT_OF_MEMORY)
    losses.look()
    losses.look()
    losses.stop()
    reason = "The executor with id 2 exited with exit code 137(SIGKILL, possible container OOM)."
    assert told == losses.losses == [Loss("test-2", reason)]


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
