"""Locks as a test needs them: a clock that only waiting moves, and other commands' locks on an output."""

import json
from collections.abc import Callable
from typing import Any

from job import store, swap
from job.lock import Timing


class Clock:
    """A clock that stands still but for pauses; during each of these, the next of its `events` happens."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waited = 0.0
        self.events: list[Callable[[], object]] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.waited += seconds
        if self.events:
            self.events.pop(0)()

    def timing(self) -> Timing:
        """Return a timing by this clock, in which nothing is renewed by itself."""
        return Timing(renew_seconds=3600, clock=self, pause=self.pause)


def content(place: str) -> dict[str, Any] | None:
    """Return what the lock on an output says, if there is one."""
    found = swap.read(f"{place}/_lock.json")
    return None if found is None else json.loads(found.data)


def write(place: str, **more: object) -> None:
    """Write a lock over what is there, or change it."""
    store.write_bytes(f"{place}/_lock.json", json.dumps({**(content(place) or {}), **more}).encode())


def write_foreign(place: str, **more: object) -> None:
    """Write the lock of a command on another machine, whose clock is far off."""
    of_another: dict[str, object] = {
        "run_id": "night-1",
        "what": "run",
        "owner": {"host": "elsewhere", "pid": 41, "started": 1, "boot_id": "b", "pid_namespace": "n"},
        "acquired_at": "2099-11-21T21:00:00Z",
        "renewed_at": "2099-11-21T21:00:00Z",
        "renewals": 0,
        "lasts_seconds": 60.0,
        "token": "another",
    }
    write(place, **{**of_another, **more})
