"""How the commands for AWS and for the image end: an error becomes one sentence on stderr and an exit code.

It loads no boto3, because run-docker.sh may run where there is none.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from job.cli.exits import INTERRUPTED
from job.errors import JobError


class Hangup(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: the terminal is closed, or the process must end, so no question is possible."""


@contextmanager
def _hanging_up() -> Iterator[None]:
    """Raise ``Hangup`` on SIGTERM and SIGHUP, so that they end the work as Ctrl-C does."""

    def hang_up(signum: int, frame: FrameType | None) -> NoReturn:
        del signum, frame
        raise Hangup

    numbers = (signal.SIGTERM, signal.SIGHUP)
    previous_handlers = [(number, signal.signal(number, hang_up)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in previous_handlers:
            signal.signal(number, handler)


def exit_code_of(work: Callable[[], int], interruption: str = "interrupted") -> int:
    """Do a command's work and return its exit code; print an error that a user can mend as one sentence.

    Parameters
    ----------
    work : callable
        Does the work and returns the exit code.
    interruption : str
        The sentence after Ctrl-C, SIGTERM or SIGHUP, if the KeyboardInterrupt itself has none.
    """
    try:
        with _hanging_up():
            return work()
    except KeyboardInterrupt as error:
        sentence, exit_code = str(error) or interruption, INTERRUPTED
    except BrokenPipeError:  # the reader of stdout has gone
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 (Python flushes it when it exits)
        return 1
    except Exception as error:
        user_error = _user_error(error)
        if user_error is None:
            raise
        sentence, exit_code = str(user_error), user_error.exit_code
    print(f"error: {sentence}", file=sys.stderr)
    return exit_code


def _user_error(error: Exception) -> JobError | None:
    """Return an error as one that a user can mend, or None."""
    if isinstance(error, JobError):
        return error
    if "botocore" not in sys.modules:
        return None
    from scripts.cloud import aws_session  # noqa: PLC0415 (it loads boto3)

    return aws_session.user_error(error)
