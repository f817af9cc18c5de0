"""The entry point: arguments → settings → session → pipeline → exit code.

Runs as ``spark-submit job/main.py …`` and as ``python -m job …``.
"""

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

if __package__ in (None, ""):  # started as a file: make the package that it is part of importable
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from job import commands, report, session
from job.errors import JobError
from job.log import Log
from job.pipeline import Pipeline
from job.settings import Settings, new_run_id, parse

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

INTERRUPTED: Final = 130
GONE: Final = "Spark was stopped, or has died: this run is not committed; start it again"
INTERRUPTION: Final = "interrupted: this run is not committed; start it again"

_interrupted = threading.Event()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job, or another command on an output, and return the exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The command line without the program's name; the process's own by default.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in commands.COMMANDS:
        return commands.main(arguments, os.environ)
    return _run(arguments)


def _run(arguments: list[str]) -> int:
    # Wrong arguments are reported in the format that was asked for, as far as that can be known.
    words = " ".join(arguments) + f" --log-format {os.environ.get('FRUITS_LOG_FORMAT', '')}"
    as_json = "--log-format json" in words or "--log-format=json" in words
    log = Log(new_run_id(), as_json)
    pipeline: Pipeline | None = None
    try:
        settings = parse(arguments, os.environ)
        log = Log(settings.run_id, settings.log_format == "json")
        _on_signals(_interrupt)
        log.info("run_started", f"run {settings.run_id}", output=settings.output, inputs=settings.inputs)
        pipeline = _Run(settings, log, lambda: _start(settings))
        run = pipeline.run()
        _on_signals(signal.SIG_IGN)  # it is committed
        log.summary(report.summary(run), **run)
    except JobError as error:
        log.error("run_failed", str(error), exit_code=error.exit_code)
        return error.exit_code
    except SystemExit:  # --help and --version
        raise
    except OSError as error:
        log.error("run_failed", f"{error.strerror or error}: {error.filename or 'no file'}", exit_code=1)
        return 1
    except BaseException as error:  # noqa: BLE001 (it is told in full, and ends the run)
        # A signal that also reached the JVM shows as an error of whatever was waiting for it.
        if _interrupted.is_set():
            log.error("run_interrupted", INTERRUPTION, exit_code=INTERRUPTED)
            return INTERRUPTED
        if _spark_is_gone(pipeline):
            log.error("run_failed", GONE, exit_code=1)
            return 1
        # Told before Spark is stopped: an error of the JVM's can be read only while the JVM is there.
        if not log.as_json:
            traceback.print_exc()
        told = traceback.format_exc()
        log.error("run_failed", f"unexpected: {error!r}"[:2000], exit_code=1, traceback=told)
        return 1
    finally:
        if pipeline is not None and pipeline.spark is not None:
            _stop(pipeline.spark)
    return 0


def _spark_is_gone(pipeline: Pipeline | None) -> bool:
    """Tell whether spark-submit's JVM has ended before us: a signal to end reaches it and not us."""
    if pipeline is None or pipeline.spark is None or "PYSPARK_GATEWAY_PORT" not in os.environ:
        return False
    try:
        return bool(pipeline.spark.sparkContext._jsc.sc().isStopped())
    except Exception:  # noqa: BLE001 (however Py4J says it)
        return True


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """End the run: Ctrl-C, or SIGTERM, which is how Kubernetes ends a pod."""
    del signum, frame
    _interrupted.set()
    logging.disable(logging.CRITICAL)  # py4j logs the exception that ends its waiting, at length
    raise KeyboardInterrupt


class _Run(Pipeline):
    """A pipeline that asks before and after each step whether it is to end.

    Python drops what a signal's handler raises in some places, as after a fork, which starting Java is.
    """

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        _end_if_interrupted()
        with super()._step(name):
            yield
        _end_if_interrupted()


def _end_if_interrupted() -> None:
    if _interrupted.is_set():
        raise KeyboardInterrupt


def _on_signals(handler: "Callable[[int, FrameType | None], None] | signal.Handlers") -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _start(settings: Settings) -> "SparkSession":
    spark = session.start(os.environ, settings.cache)
    _on_signals(_interrupt)  # PySpark has put its own handler in place
    return spark


def _stop(spark: "SparkSession") -> None:
    """Stop Spark and its workers; a second Ctrl-C must not leave them behind."""
    _on_signals(signal.SIG_IGN)
    logging.disable(logging.CRITICAL)  # or py4j tells at length of every object that outlives the JVM
    session.stop(spark)


if __name__ == "__main__":
    sys.exit(main())
