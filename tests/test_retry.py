"""Trying again: until it works, with waits that grow, and not for ever."""

import errno
from collections.abc import Callable

import pytest

from job.aws import Patience, TransientError
from tests.chaos_s3 import Waits


def failing(times: int, error: Exception) -> Callable[[], int]:
    """Return what fails so often, and then returns how often it was called."""
    calls = 0

    def call() -> int:
        nonlocal calls
        calls += 1
        if calls <= times:
            raise error
        return calls

    return call


def test_what_passes_is_tried_until_it_has() -> None:
    waits = Waits()
    assert waits.patience().keep_trying(failing(5, TransientError(errno.EIO, "slow down"))) == 6
    assert len(waits.waited) == 5


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), PermissionError(), OSError(errno.EIO, "x"), ValueError()]
)
def test_what_does_not_pass_is_tried_once(error: Exception) -> None:
    waits = Waits()
    with pytest.raises(type(error)):
        waits.patience().keep_trying(failing(1, error))
    assert waits.waited == []


def test_waits_double_up_to_the_longest_and_are_spread_over_a_half() -> None:
    waits = Waits()
    Patience(wait=waits.wait, clock=lambda: 0).keep_trying(
        failing(200, TransientError(errno.EIO, "slow down"))
    )
    for wait, longest in zip(waits.waited, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4] + [10] * 194, strict=True):
        assert longest / 2 <= wait <= longest
    assert len({round(wait, 6) for wait in waits.waited[6:]}) > 150, "no two workers come back together"


def test_no_try_begins_when_patience_is_at_its_end() -> None:
    waits = Waits()
    with pytest.raises(TransientError, match="the last"):
        waits.patience(60).keep_trying(failing(1000, TransientError(errno.EIO, "the last")))
    assert 45 < sum(waits.waited) <= 60
    assert len(waits.waited) > 8


def test_the_time_of_the_tries_counts_too() -> None:
    now = 0.0

    def stall() -> None:
        nonlocal now
        now += 25
        raise TransientError(errno.EIO, "stalled")

    waits: list[float] = []
    with pytest.raises(TransientError):
        Patience(60, wait=waits.append, clock=lambda: now).keep_trying(stall)
    assert len(waits) == 2  # they begin after 0, 25 and 50 seconds
