"""What ends a command: its exit code, and one line of what went wrong. All commands end here, in one way."""

import logging
import signal
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Final

from job.cli.log import Log
from job.errors import JobError

INTERRUPTED: Final = 130

interrupted: Final = threading.Event()


def log_of(arguments: Sequence[str], environment: Mapping[str, str], run_id: str) -> Log:
    """Return a log in the format that was asked for, as far as it is known before arguments are read."""
    words = " ".join([*arguments, "--log-format", environment.get("FRUITS_LOG_FORMAT", "")])
    return Log(run_id, "--log-format json" in words or "--log-format=json" in words)


def run(
    log: Log,
    command: str,
    work: Callable[[], object],
    interruption: str,
    explain: Callable[[], str | None] = lambda: None,
) -> int:
    """Do a command's work, and return its exit code; an error is told in one line.

    Parameters
    ----------
    command : str
        Stands in the names of events.
    interruption : str
        What to tell after Ctrl-C or SIGTERM.
    explain : callable
        Returns the sentence for an error that is not the job's own, if there is one.
    """

    def end(how: str, sentence: str, code: int, **more: object) -> int:
        log.error(f"{command}_{how}", sentence, exit_code=code, **more)
        return code

    try:
        work()
    except JobError as error:
        return end("failed", str(error), error.exit_code)
    except SystemExit:  # --help and --version
        raise
    except OSError as error:
        return end("failed", f"{error.strerror or error}: {error.filename or 'no file'}", 1)
    except BaseException as error:  # noqa: BLE001 (it is told in full, and ends the command)
        # A signal that also reached the JVM shows as an error of whatever was waiting for it.
        if interrupted.is_set() or isinstance(error, KeyboardInterrupt):
            return end("interrupted", interruption, INTERRUPTED)
        if sentence := explain():
            return end("failed", sentence, 1)
        if not log.as_json:
            traceback.print_exc()
        return end("failed", f"unexpected: {error!r}"[:2000], 1, traceback=traceback.format_exc())
    return 0


def end_on_signals() -> None:
    """Let Ctrl-C, and SIGTERM, which is how Kubernetes ends a pod, interrupt the command."""
    _on_signals(_interrupt)


def ignore_signals() -> None:
    """Let nothing interrupt what must come to its end."""
    _on_signals(signal.SIG_IGN)


def end_if_interrupted() -> None:
    """End the command if a signal came: after a fork, say, Python drops what a handler raises."""
    if interrupted.is_set():
        raise KeyboardInterrupt


def _interrupt(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    interrupted.set()
    logging.disable(logging.CRITICAL)  # py4j logs the exception that ends its waiting, at length
    raise KeyboardInterrupt


def _on_signals(handler: "Callable[[int, FrameType | None], None] | signal.Handlers") -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
