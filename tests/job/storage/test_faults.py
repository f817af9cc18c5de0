"""Retries: calls are repeated after growing waits, and only for a limited time."""

import errno
from collections.abc import Callable
from typing import Final

import pytest

from job.storage import retries
from job.storage.retries import RetryPolicy
from job.storage.s3_errors import TransientError
from tests.support.chaos_s3 import Waits

SLOW: Final = TransientError(errno.EIO, "slow down")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr(retries, "RETRY_POLICY", waits.patience())
    return waits


def failing(n: int, error: Exception) -> Callable[[], int]:
    """Return a function that fails `n` times, then returns its number of calls."""
    calls = 0

    def fail_or_count() -> int:
        nonlocal calls
        calls += 1
        if calls <= n:
            raise error
        return calls

    return fail_or_count


def test_a_transient_error_is_retried_until_the_call_succeeds(waits: Waits) -> None:
    assert retries.retry(failing(5, SLOW), "s3://b/k") == 6
    assert len(waits.waited) == 5


@pytest.mark.parametrize("error", [PermissionError(), OSError(errno.EIO, "x"), ValueError()])
def test_another_error_is_not_retried(waits: Waits, error: Exception) -> None:
    with pytest.raises(type(error)):
        retries.retry(failing(1, error), "s3://b/k")
    assert waits.waited == []


def test_waits_double_up_to_a_limit_and_are_randomised(waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "RETRY_POLICY", RetryPolicy(wait=waits.wait, clock=lambda: 0))
    retries.retry(failing(200, SLOW), "s3://b/k")
    for wait, longest in zip(waits.waited, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4] + [10] * 194, strict=True):
        assert longest / 2 <= wait <= longest
    assert len({round(wait, 6) for wait in waits.waited[6:]}) > 150, "workers retry at different times"


def test_no_retry_begins_after_the_time_limit(waits: Waits) -> None:
    with pytest.raises(TransientError, match="slow down"):
        retries.retry(failing(1000, SLOW), "s3://b/k")
    assert 45 < sum(waits.waited) <= 60
    assert len(waits.waited) > 8


def test_the_duration_of_the_calls_counts_towards_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waits = 0.0, list[float]()

    def stall() -> None:
        nonlocal now
        now += 25
        raise SLOW

    monkeypatch.setattr(retries, "RETRY_POLICY", RetryPolicy(wait=waits.append, clock=lambda: now))
    with pytest.raises(TransientError):
        retries.retry(stall, "s3://b/k")
    assert len(waits) == 2  # the calls begin after 0, 25 and 50 seconds
