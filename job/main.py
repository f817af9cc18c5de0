"""The entry point: arguments → settings → session → pipeline → exit code.

Runs as ``spark-submit job/main.py …`` and as ``python -m job …``.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

if __package__ in (None, ""):  # started as a file: make the package that it is part of importable
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from job import report, session
from job.errors import JobError
from job.log import Log
from job.pipeline import Pipeline
from job.settings import new_run_id, parse

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

INTERRUPTED: Final = 130
INTERRUPTION: Final = "interrupted: this run is not committed; start it again"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The command line without the program's name; the process's own by default.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    # Wrong arguments are reported in the format that was asked for, as far as that can be known.
    as_json = any(word == "--log-format=json" for word in arguments) or "json" in arguments
    log = Log(new_run_id(), as_json)
    pipeline: Pipeline | None = None
    try:
        settings = parse(arguments, os.environ)
        log = Log(settings.run_id, settings.log_format == "json")
        signal.signal(signal.SIGTERM, _interrupt)
        log.info("run_started", f"run {settings.run_id}", output=settings.output, inputs=settings.inputs)
        pipeline = Pipeline(settings, log, lambda: session.start(os.environ, settings.cache))
        run = pipeline.run()
        log.summary(report.summary(run), **run)
    except JobError as error:
        log.error("run_failed", str(error), exit_code=error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        log.error(
            "run_interrupted", "interrupted: this run is not committed; start it again", exit_code=INTERRUPTED
        )
        return INTERRUPTED
    finally:
        if pipeline is not None and pipeline.spark is not None:
            _stop(pipeline.spark)
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Let SIGTERM, which is how Kubernetes ends a pod, end a run as Ctrl-C does."""
    del signum, frame
    raise KeyboardInterrupt


def _stop(spark: "SparkSession") -> None:
    """Stop Spark and its workers; a second Ctrl-C must not leave them behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    session.stop(spark)


if __name__ == "__main__":
    sys.exit(main())
