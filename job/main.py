"""The entry point, as ``spark-submit job/main.py …`` and ``python -m job …``.

It turns arguments into settings, starts Spark when the pipeline needs it, and returns the exit code.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if __package__ in (None, ""):  # started as a file: make the package importable
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from job.cli import exits
from job.cli.settings import Settings, new_run_id, parse_settings
from job.commands import command_line
from job.run import run_record
from job.run.pipeline import Pipeline
from job.spark import executor_losses, session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SPARK_STOPPED: Final = "Spark was stopped, or has died: this run is not committed; start it again"
INTERRUPTED: Final = "interrupted: this run is not committed; start it again"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job, or another command on an output, and return the exit code.

    `argv` is the command line without the program's name; by default that of this process.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in command_line.COMMANDS:
        return command_line.main(arguments, os.environ)
    log = exits.initial_log(arguments, os.environ, new_run_id())
    pipeline: Pipeline | None = None

    def work() -> None:
        nonlocal pipeline
        settings = parse_settings(arguments, os.environ)
        log.run_id, log.as_json = settings.run_id, settings.log_format == "json"
        exits.interrupt_on_signals()
        log.info("run_started", f"run {settings.run_id}", output=settings.output, inputs=settings.inputs)
        pipeline = Pipeline(settings, log, lambda: _start_spark(settings))
        record = pipeline.run()
        exits.ignore_signals()  # the run is committed
        log.summary(run_record.summary(record), **record)

    def explain(error: BaseException) -> str | None:
        has_stopped = _spark_has_stopped(pipeline)
        watch = None if pipeline is None else pipeline.executor_losses
        losses = [] if watch is None else watch.losses
        stopped = SPARK_STOPPED if has_stopped else None
        return executor_losses.explanation(losses, error, has_stopped=has_stopped) or stopped

    try:
        return exits.run_command(log, "run", work, INTERRUPTED, explain)
    finally:
        if pipeline is not None and pipeline.spark is not None:
            exits.ignore_signals()  # a second Ctrl-C must not leave Spark's workers behind
            logging.disable(logging.CRITICAL)  # or py4j logs every object that outlives the JVM
            if pipeline.executor_losses is not None:
                pipeline.executor_losses.stop()
            session.stop(pipeline.spark)


def _spark_has_stopped(pipeline: Pipeline | None) -> bool:
    """Tell whether spark-submit's JVM has stopped: it can receive a signal that this process does not."""
    if pipeline is None or pipeline.spark is None or "PYSPARK_GATEWAY_PORT" not in os.environ:
        return False
    try:
        return bool(pipeline.spark.sparkContext._jsc.sc().isStopped())
    except Exception:  # noqa: BLE001 (whatever error Py4J raises)
        return True


def _start_spark(settings: Settings) -> "SparkSession":
    spark = session.start(os.environ, settings.cache)
    exits.interrupt_on_signals()  # PySpark has set its own handler
    return spark


if __name__ == "__main__":
    sys.exit(main())
