"""How every command ends: errors become one logged line and an exit code, and signals interrupt the work."""

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

signal_received: Final = threading.Event()


def initial_log(arguments: Sequence[str], environment: Mapping[str, str], run_id: str) -> Log:
    """Return a log for errors in the arguments, in the format that the unparsed arguments ask for."""
    words = " ".join([*arguments, "--log-format", environment.get("FRUITS_LOG_FORMAT", "")])
    return Log(run_id, "--log-format json" in words or "--log-format=json" in words)


def run_command(
    log: Log,
    command: str,
    work: Callable[[], object],
    interruption: str,
    explain: Callable[[BaseException], str | None] = lambda _: None,
) -> int:
    """Do a command's work and return its exit code; log any error in one line.

    Parameters
    ----------
    command : str
        The prefix of event names, as in ``run_failed``.
    work : callable
        What the command does.
    interruption : str
        The sentence to log after Ctrl-C or SIGTERM.
    explain : callable
        Returns a sentence for an error that is not a JobError, or None to log it as unexpected.
    """

    def log_error(event: str, sentence: str, code: int, **fields: object) -> int:
        log.error(f"{command}_{event}", sentence, exit_code=code, **fields)
        return code

    try:
        work()
    except JobError as error:
        return log_error("failed", str(error), error.exit_code)
    except SystemExit:  # --help and --version
        raise
    except OSError as error:
        return log_error("failed", f"{error.strerror or error}: {error.filename or 'no file'}", 1)
    except BaseException as error:  # noqa: BLE001 (logged in full, and ends the command)
        # A signal also stops the JVM, and then a pending Py4J call fails with an error of its own.
        if signal_received.is_set() or isinstance(error, KeyboardInterrupt):
            return log_error("interrupted", interruption, INTERRUPTED)
        if sentence := explain(error):
            return log_error("failed", sentence, 1)
        if not log.as_json:
            traceback.print_exc()
        return log_error("failed", f"unexpected: {error!r}"[:2000], 1, traceback=traceback.format_exc())
    return 0


def interrupt_on_signals() -> None:
    """Interrupt the command on Ctrl-C and on SIGTERM, with which Kubernetes stops a pod."""
    _set_handler(_interrupt)


def ignore_signals() -> None:
    """Ignore Ctrl-C and SIGTERM from now on, so that the last steps finish."""
    _set_handler(signal.SIG_IGN)


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt if a signal came: Python drops the handler's own, for example after a fork."""
    if signal_received.is_set():
        raise KeyboardInterrupt


def _interrupt(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    signal_received.set()
    logging.disable(logging.CRITICAL)  # py4j would log the interrupted call at length
    raise KeyboardInterrupt


def _set_handler(handler: "Callable[[int, FrameType | None], None] | signal.Handlers") -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
