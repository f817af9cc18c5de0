"""The entry point: arguments → settings → session → pipeline → exit code.

Runs as ``spark-submit job/main.py …`` and as ``python -m job …``.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if __package__ in (None, ""):  # started as a file: make the package that it is part of importable
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from job.cli import exits
from job.cli.settings import Settings, new_run_id, parse
from job.commands import command_line
from job.run import run_record
from job.run.pipeline import Pipeline
from job.spark import session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GONE: Final = "Spark was stopped, or has died: this run is not committed; start it again"
INTERRUPTION: Final = "interrupted: this run is not committed; start it again"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job, or another command on an output, and return the exit code.

    `argv` has no program's name; by default it is the process's own.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in command_line.COMMANDS:
        return command_line.main(arguments, os.environ)
    log = exits.log_of(arguments, os.environ, new_run_id())
    pipeline: Pipeline | None = None

    def work() -> None:
        nonlocal pipeline
        settings = parse(arguments, os.environ)
        log.run_id, log.as_json = settings.run_id, settings.log_format == "json"
        exits.end_on_signals()
        log.info("run_started", f"run {settings.run_id}", output=settings.output, inputs=settings.inputs)
        pipeline = Pipeline(settings, log, lambda: _start(settings))
        run = pipeline.run()
        exits.ignore_signals()  # it is committed
        log.summary(run_record.summary(run), **run)

    try:
        return exits.run(log, "run", work, INTERRUPTION, lambda: GONE if _spark_is_gone(pipeline) else None)
    finally:
        if pipeline is not None and pipeline.spark is not None:
            exits.ignore_signals()  # a second Ctrl-C must not leave Spark's workers behind
            logging.disable(logging.CRITICAL)  # or py4j tells of every object that outlives the JVM
            session.stop(pipeline.spark)


def _spark_is_gone(pipeline: Pipeline | None) -> bool:
    """Tell whether spark-submit's JVM has ended before us: a signal to end reaches it and not us."""
    if pipeline is None or pipeline.spark is None or "PYSPARK_GATEWAY_PORT" not in os.environ:
        return False
    try:
        return bool(pipeline.spark.sparkContext._jsc.sc().isStopped())
    except Exception:  # noqa: BLE001 (however Py4J says it)
        return True


def _start(settings: Settings) -> "SparkSession":
    spark = session.start(os.environ, settings.cache)
    exits.end_on_signals()  # PySpark has put its own handler in place
    return spark


if __name__ == "__main__":
    sys.exit(main())
