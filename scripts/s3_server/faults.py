"""The faults of the small S3 server: at random with a seed, or at the requests that a test chooses."""

import enum
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Final, Literal, NamedTuple

from scripts.s3_server.api import Answer

When = Literal["before", "after"]
READS: Final = ("GET", "HEAD")


class Fault(enum.Enum):
    """A way to fail a request."""

    SLOW_DOWN = 503
    INTERNAL_ERROR = 500
    RESET = "reset"  # the connection is reset before any byte of the answer
    SILENT = "silent"  # no answer, until the client gives up
    CUT = "cut"  # the connection is closed in the middle of the answer
    STALL = "stall"  # half of the answer, then nothing until the client gives up


# Replaces the answer to a request: a fault, or another answer.
Outcome = Fault | Answer
Action = Outcome | Callable[[], Outcome | None]


class Request(NamedTuple):
    """A recorded request: its method, bucket and key, which is empty in requests about the bucket."""

    method: str
    bucket: str
    key: str


class Hook:
    """An action at the nth request of a method for keys like a pattern, or at all if `nth` is None."""

    def __init__(self, method: str, keys: str, nth: int | None, when: When, action: Action) -> None:
        self.method, self.keys, self.nth, self.when, self.action = method, keys, nth, when, action
        self.matched = 0

    def matches(self, request: Request) -> bool:
        """Count a request of this method and key, and return whether it is the nth."""
        if self.method != request.method or not fnmatchcase(request.key, self.keys):
            return False
        self.matched += 1
        return self.nth in (None, self.matched)


class Faults:
    """Decides which requests fail, and how.

    Parameters
    ----------
    probability : float
        The probability that a request fails. Whether the nth request for a key fails depends only on the
        seed, not on the requests for other keys.
    seed : int
    kinds : iterable of Fault
        Used in turn; for writes, each both before and after the write happens.

    Attributes
    ----------
    hooks : list of Hook
        The actions at chosen requests.
    done : Counter
        The number of faults so far by name, or by status where an answer was replaced.
    """

    def __init__(self, probability: float = 0, seed: int = 0, kinds: Iterable[Fault] = Fault) -> None:
        kinds = tuple(kinds)
        times: tuple[When, ...] = ("before", "after")
        # A cut or stalled answer has begun, so the write has happened.
        writes = [
            (kind, when)
            for kind in kinds
            for when in times
            if when == "after" or kind not in (Fault.CUT, Fault.STALL)
        ]
        self._reads = itertools.cycle([(kind, times[1]) for kind in kinds])
        self._writes = itertools.cycle(writes)
        self._probability, self._seed = probability, seed
        self._requests: Counter[Request] = Counter()
        self.hooks: list[Hook] = []
        self.done: Counter[str] = Counter()

    def plan(self, request: Request) -> "Plan":
        """Return what happens to a request; called once, when it arrives."""
        hooks = [hook for hook in self.hooks if hook.matches(request)]
        if self._probability:
            self._requests[request] += 1
            seed = json.dumps((self._seed, *request, self._requests[request])).encode()
            number = int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest(), "big") / 2**64
            if number < self._probability:
                fault, when = next(self._reads if request.method in READS else self._writes)
                hooks.append(Hook(request.method, "", None, when, fault))
        return Plan(self, hooks)


class Plan:
    """The hooks of one request."""

    def __init__(self, faults: Faults, hooks: list[Hook]) -> None:
        self._faults, self._hooks = faults, hooks

    def outcome(self, when: When) -> Outcome | None:
        """Run the hooks for `when`; return the fault or answer that replaces the real one, or None."""
        for hook in self._hooks:
            if hook.when == when:
                outcome = hook.action if isinstance(hook.action, Fault | Answer) else hook.action()
                if outcome:
                    name = outcome.name if isinstance(outcome, Fault) else str(outcome.status)
                    self._faults.done[name] += 1
                    return outcome
        return None
