"""Trying again: what may pass is tried until it has, with growing waits and for a bounded time.

``s3`` reads and writes with it: one object is asked for again where a whole task would be done again.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

Result = TypeVar("Result")

# Workers are forks of one process: a generator that is seeded once would make them all wait the same times.
_random: Final = random.SystemRandom()


class TransientError(OSError):
    """Something has failed in a way that may pass: what was asked may be done or not."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often something is tried.

    Waits double from `first` to `longest`, and each is drawn between a half and all of that, so that many
    workers that failed together do not come back together.

    Parameters
    ----------
    seconds : float
        No try begins later than this after the first.
    first, longest : float
        Seconds.
    wait : callable
        Seconds to wait.
    clock : callable
        Seconds, from whenever.
    """

    seconds: float = 60
    first: float = 0.2
    longest: float = 10
    wait: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def keep_trying(self, call: Callable[[], Result]) -> Result:
        """Return what `call` returns once it does.

        Raises
        ------
        TransientError
            What it raised last, when there is no time for another try.
        """
        end, longest = self.clock() + self.seconds, self.first
        while True:
            try:
                return call()
            except TransientError:
                pause = _random.uniform(longest / 2, longest)
                if self.clock() + pause > end:
                    raise
            self.wait(pause)
            longest = min(2 * longest, self.longest)
