"""Retries of requests about one object: how long, with which pauses, and of which errors."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from job.storage.s3_errors import TransientError, system_error

Result = TypeVar("Result")

# Results of conditional requests, not failures, except 409, by which S3 asks for a retry.
CONDITION_ERRORS: Final = (AlreadyExistsError, PreconditionError)
# The pause before the first retry of a request about one object, and the longest one.
FIRST_WAIT_SECONDS: Final = 0.2
LONGEST_WAIT_SECONDS: Final = 10.0
# Workers are forks of one process: a generator seeded there would give all of them the same pauses.
_random: Final = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retries of requests about one object: none starts later than `seconds` after the first try."""

    seconds: float = 60  # S3 answers SlowDown until it has scaled up
    wait: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic


RETRY_POLICY: Final = RetryPolicy()


def retry(call: Callable[[], Result], location: str) -> Result:
    """Call obstore or boto3 for one object, and retry transient failures within ``RETRY_POLICY.seconds``.

    The longest pause doubles each time, and each pause is drawn between half of it and all of it, so that
    workers that failed together do not retry together.

    Raises
    ------
    AlreadyExistsError, PreconditionError
        As obstore raises them, if a conditional request was not met.
    OSError
        Everything else, as :func:`system_error` translates it.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    fault: OSError
    end, longest = RETRY_POLICY.clock() + RETRY_POLICY.seconds, FIRST_WAIT_SECONDS
    while True:
        try:
            return call()
        except TransientError as error:
            fault = error
        except (BaseError, FileNotFoundError, BotoCoreError, ClientError) as error:
            fault = system_error(error, location)
            if isinstance(error, CONDITION_ERRORS) and not isinstance(fault, TransientError):
                raise
        pause = _random.uniform(longest / 2, longest)
        if not isinstance(fault, TransientError) or RETRY_POLICY.clock() + pause > end:
            raise fault
        RETRY_POLICY.wait(pause)
        longest = min(2 * longest, LONGEST_WAIT_SECONDS)
