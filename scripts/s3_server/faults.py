"""What the small S3 server does wrong, on purpose: at random with a seed, or where a test says so."""

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


# What an answer becomes: it fails in a way, or is another one.
Outcome = Fault | Answer
Action = Outcome | Callable[[], Outcome | None]


class Request(NamedTuple):
    """What counts of a request: its method, bucket and key (empty for requests about the bucket)."""

    method: str
    bucket: str
    key: str


class Hook:
    """Acts at the nth request of a method for keys like a pattern, or at each of them if `nth` is None."""

    def __init__(self, method: str, keys: str, nth: int | None, when: When, action: Action) -> None:
        self.method, self.keys, self.nth, self.when, self.action = method, keys, nth, when, action
        self.seen = 0

    def matches(self, request: Request) -> bool:
        """Count a request, and tell whether it is the one."""
        if self.method != request.method or not fnmatchcase(request.key, self.keys):
            return False
        self.seen += 1
        return self.nth in (None, self.seen)


class Faults:
    """Decides what becomes of each request.

    Parameters
    ----------
    probability : float
        Of a request to fail. Whether the nth request for a key fails depends on nothing but that and the
        seed, not on the order in which keys are asked for.
    seed : int
    kinds : iterable of Fault
        They are used in turn; for writes, each both before and after the write happens.
    """

    def __init__(self, probability: float = 0, seed: int = 0, kinds: Iterable[Fault] = Fault) -> None:
        kinds = tuple(kinds)
        both: tuple[When, ...] = ("before", "after")
        # A cut or stalled answer has begun: what was asked for is done.
        writes = [
            (kind, when)
            for kind in kinds
            for when in both
            if when == "after" or kind not in (Fault.CUT, Fault.STALL)
        ]
        self._reads = itertools.cycle([(kind, both[1]) for kind in kinds])
        self._writes = itertools.cycle(writes)
        self._probability, self._seed = probability, seed
        self._asked: Counter[Request] = Counter()
        self.hooks: list[Hook] = []
        self.done: Counter[str] = Counter()

    def plan(self, request: Request) -> "Plan":
        """Decide about a request, once, when it arrives."""
        hooks = [hook for hook in self.hooks if hook.matches(request)]
        if self._probability:
            self._asked[request] += 1
            words = json.dumps((self._seed, *request, self._asked[request])).encode()
            drawn = int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "big") / 2**64
            if drawn < self._probability:
                fault, when = next(self._reads if request.method in READS else self._writes)
                hooks.append(Hook(request.method, "", None, when, fault))
        return Plan(self, hooks)


class Plan:
    """What is to happen to one request."""

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
