"""A lock while it is held: renewed, and checked before each step that writes."""

import threading
import time
from pathlib import Path

import pytest

from job import lock, store, swap
from job.errors import JobError
from job.lock import Held, Timing, held
from tests.locks import Clock, content, write


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an output that does not exist yet."""
    above = str(tmp_path) if request.param == "folder" else f"s3://{request.getfixturevalue('bucket')}"
    return f"{above}/some/out"


def loss(holder: Held) -> str:
    with pytest.raises(JobError) as caught:
        holder.check()
    assert caught.value.exit_code == 1
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert f"run night-1 may not write to output {holder.output} any more: " in sentence
    return sentence


def test_a_lock_is_renewed_by_itself(place: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, renewed = swap.replace, threading.Semaphore(0)

    def told(location: str, seen: swap.Seen, data: bytes) -> swap.Seen | None:
        now = replace(location, seen, data)
        renewed.release()
        return now

    monkeypatch.setattr(swap, "replace", told)
    with held(place, "night-1", timing=Timing(renew_seconds=0.001, clock=clock)) as holder:
        for _ in range(3):
            assert renewed.acquire(timeout=30)
        found = content(place)
        assert found is not None
        assert found["renewals"] >= 2
        assert found["token"] == holder.token
    assert content(place) is None, "renewing ends before the lock is deleted"


def test_a_renewal_is_told_from_the_one_before_it(place: str, clock: Clock) -> None:
    with held(place, "night-1", timing=clock.timing()) as holder:
        first = content(place)
        holder.renew()
        second = content(place)
        holder.check()
        third = content(place)
    assert first is not None
    assert [found and found["renewals"] for found in (first, second, third)] == [0, 1, 2]


def test_a_lock_that_another_has_taken_is_lost_for_good_and_stays_the_others(
    place: str, clock: Clock
) -> None:
    with held(place, "night-1", timing=clock.timing()) as holder:
        ours = content(place)
        write(place, run_id="night-2", token="another")
        assert "run night-2 (host " in loss(holder)
        assert "has taken its lock; start again when nothing else writes there" in loss(holder)
        write(place, **(ours or {}))
        loss(holder)
        write(place, run_id="night-2", token="another")
    found = content(place)
    assert found is not None
    assert (found["run_id"], found["token"], found["renewals"]) == ("night-2", "another", 0)


def test_a_lock_that_somebody_deleted_is_lost_and_not_made_again(place: str, clock: Clock) -> None:
    with held(place, "night-1", timing=clock.timing()) as holder:
        store.delete_tree(f"{place}/_lock.json")
        assert f"its lock {place}/_lock.json is gone" in loss(holder)
        holder.renew()
        assert content(place) is None


def test_a_renewal_that_fails_is_tried_again_and_counts_when_the_lock_is_over(
    place: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "S3 failed with SlowDown, status 503", place)

    with held(place, "night-1", timing=clock.timing()) as holder:
        with monkeypatch.context() as patch:
            patch.setattr(swap, "replace", fail)
            clock.now += 59.9
            holder.check()
        holder.check()
        clock.now += 59.9
        holder.renew()
        with monkeypatch.context() as patch:
            patch.setattr(swap, "replace", fail)
            clock.now += 60
            assert (
                "its lock could not be renewed for 60 s (S3 failed with SlowDown, status 503); "
                "mend that and start again"
            ) in loss(holder)
        holder.check()  # nobody has taken it meanwhile: it was ours all the time


def test_a_renewal_that_seemed_to_fail_and_did_not_is_known_for_our_own(
    place: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = swap.replace

    def answer_is_lost(location: str, seen: swap.Seen, data: bytes) -> None:
        replace(location, seen, data)
        raise OSError(5, "Input/output error", location)

    with held(place, "night-1", timing=clock.timing()) as holder:
        monkeypatch.setattr(swap, "replace", answer_is_lost)
        holder.renew()
        monkeypatch.setattr(swap, "replace", replace)
        assert (content(place) or {})["renewals"] == 1
        holder.check()
        assert (content(place) or {})["renewals"] > 1, "it is written again at once"
    assert content(place) is None


def test_the_clock_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_gettime", lambda clock: clock)
    assert lock.seconds() == getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
