"""The lock that a crash left: one command takes it over, at once or when it was not renewed for its term."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from job import owner, store, swap
from job.errors import JobError, UsageError
from job.lock import Timing, held, is_held_by
from tests.locks import Clock, content, write, write_foreign

ROOT: Final = Path(__file__).parents[1]
HOLDER: Final = """
import sys
from job.lock import held
with held(sys.argv[1], "night-1"):
    print("held", flush=True)
    input()
"""
NAME: Final = "run night-1 (host elsewhere, process 41, since 2099-11-21T21:00:00Z)"
TOOK_OVER: Final = f"took over the lock of {NAME}, which ended without releasing it"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an output that does not exist yet."""
    above = str(tmp_path) if request.param == "folder" else f"s3://{request.getfixturevalue('bucket')}"
    return f"{above}/some/out"


def refusal(place: str, clock: Clock) -> str:
    with pytest.raises(JobError) as caught, held(place, "night-2", timing=clock.timing()):
        pass
    return str(caught.value)


def of_the_dead() -> dict[str, Any]:
    """Return the owner of a lock on this machine that lives no more."""
    return {**owner.this_process(), "pid": 2**80}


def test_a_lock_of_another_machine_is_taken_over_when_it_was_not_renewed(place: str, clock: Clock) -> None:
    write_foreign(place)
    said: list[str] = []
    with held(place, "night-2", say=said.append, timing=clock.timing()) as holder:
        assert 60 <= clock.waited <= 62
        assert is_held_by(place, holder.token)
        holder.check()
    assert content(place) is None
    assert said == [
        f"output {place} is locked by {NAME}: waiting up to 60 s to see whether that still lives",
        TOOK_OVER,
    ]


@pytest.mark.parametrize("year", [1999, 2099])
def test_another_machines_clock_does_not_matter_and_its_own_term_does(
    tmp_path: Path, clock: Clock, year: int
) -> None:
    write_foreign(str(tmp_path), renewed_at=f"{year}-01-01T00:00:00Z", lasts_seconds=300)
    with held(str(tmp_path), "night-2", timing=clock.timing()):
        assert 300 <= clock.waited <= 302


def test_a_lock_that_is_renewed_while_it_is_watched_is_refused_at_once(place: str, clock: Clock) -> None:
    write_foreign(place)
    clock.events = [str, str, lambda: write(place, renewals=1)]
    assert refusal(place, clock) == (
        f"output {place} is being written by {NAME}: wait for it to end, or stop it"
    )
    assert clock.waited == 6
    found = content(place)
    assert found is not None
    assert (found["token"], found["renewals"]) == ("another", 1)


def test_a_renewal_at_the_last_moment_counts(tmp_path: Path, clock: Clock) -> None:
    write_foreign(str(tmp_path))
    clock.events = [str] * 29 + [lambda: write(str(tmp_path), renewals=1)]
    refusal(str(tmp_path), clock)
    assert clock.waited == 60


def test_a_renewal_between_the_judgement_and_the_takeover_counts(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renewed_meanwhile(_: object) -> owner.State:
        if clock.waited == 60:
            write(str(tmp_path), renewals=1)
        return owner.State.UNKNOWN

    write_foreign(str(tmp_path))
    monkeypatch.setattr(owner, "state", renewed_meanwhile)
    refusal(str(tmp_path), clock)
    assert clock.waited == 60


def test_a_lock_that_is_released_while_it_is_watched_is_taken_at_once(place: str, clock: Clock) -> None:
    write_foreign(place)
    clock.events = [lambda: store.delete_tree(f"{place}/_lock.json")]
    said: list[str] = []
    with held(place, "night-2", say=said.append, timing=clock.timing()) as holder:
        assert clock.waited == 2
        assert is_held_by(place, holder.token)
    assert len(said) == 1


def test_a_third_command_that_takes_it_first_is_watched_anew(tmp_path: Path, clock: Clock) -> None:
    write_foreign(str(tmp_path))
    third = {"run_id": "night-3", "token": "third"}
    clock.events = [str] * 28 + [lambda: write(str(tmp_path), **third)]
    said: list[str] = []
    with held(str(tmp_path), "night-2", say=said.append, timing=clock.timing()):
        assert 58 + 60 <= clock.waited <= 58 + 62
    assert len(said) == 2, "waiting is told once"
    assert "run night-3" in said[1]


def test_a_killed_owner_of_this_machine_is_taken_over_at_once(place: str, clock: Clock) -> None:
    command = [sys.executable, "-c", HOLDER, place]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "held\n"
        assert f"process {killed.pid}, " in refusal(place, clock)
        killed.kill()
    said: list[str] = []
    with held(place, "night-2", say=said.append, timing=clock.timing()) as holder:
        assert is_held_by(place, holder.token)
    assert clock.waited == 0
    assert len(said) == 1
    assert f"process {killed.pid}, " in said[0]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process started")
def test_a_living_process_that_has_the_number_of_a_dead_one_is_not_its_owner(
    tmp_path: Path, clock: Clock
) -> None:
    here = owner.this_process()
    write_foreign(str(tmp_path), owner={**here, "started": here["started"] - 1})
    with held(str(tmp_path), "night-2", timing=clock.timing()):
        assert clock.waited == 0


def test_a_lock_of_before_a_restart_or_of_another_container_is_watched(tmp_path: Path, clock: Clock) -> None:
    for name in ("boot_id", "pid_namespace"):
        write_foreign(str(tmp_path), owner={**of_the_dead(), name: "another"})
        clock.waited = 0
        with held(str(tmp_path), "night-2", timing=clock.timing()):
            assert clock.waited >= 60


def test_a_lock_whose_content_a_power_cut_took_is_watched(tmp_path: Path, clock: Clock) -> None:
    store.write_bytes(f"{tmp_path}/_lock.json", b"")
    said: list[str] = []
    with held(str(tmp_path), "night-2", say=said.append, timing=clock.timing()):
        assert 60 <= clock.waited <= 62
    assert "is locked by a command that left no name" in said[0]


@pytest.mark.parametrize("data", [b"no JSON", b"[1]", b'{"token": "mine"}'])
def test_a_file_that_is_no_lock_is_named_and_left_alone(tmp_path: Path, clock: Clock, data: bytes) -> None:
    store.write_bytes(f"{tmp_path}/_lock.json", data)
    with pytest.raises(UsageError) as caught, held(str(tmp_path), "night-2", timing=clock.timing()):
        pass
    assert str(caught.value) == (
        f"{tmp_path}/_lock.json is not a lock of this job: delete it if nothing needs it, "
        "or choose another --output"
    )
    assert store.read_bytes(f"{tmp_path}/_lock.json") == data
    assert not is_held_by(str(tmp_path), "mine")


def test_ctrl_c_while_waiting_ends_it_and_leaves_the_others_lock(tmp_path: Path, clock: Clock) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    write_foreign(str(tmp_path))
    before = content(str(tmp_path))
    clock.events = [interrupt]
    with pytest.raises(KeyboardInterrupt), held(str(tmp_path), "night-2", timing=clock.timing()):
        pass
    assert content(str(tmp_path)) == before


@pytest.mark.parametrize("act", ["create", "replace"])
def test_a_lock_whose_making_seemed_to_meet_another_is_known_for_our_own(
    place: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """As when the answer to a request is lost: it is sent again, and meets what it has written."""
    make: Any = getattr(swap, act)
    if act == "replace":
        write_foreign(place, owner=of_the_dead())
    with monkeypatch.context() as patch:
        patch.setattr(swap, act, lambda *words: make(*words) and make(*words))
        with held(place, "night-2", timing=clock.timing()) as holder:
            patch.undo()
            holder.check()
            assert is_held_by(place, holder.token)


@pytest.mark.parametrize("act", ["create", "replace"])
def test_of_two_commands_at_once_exactly_one_holds_the_lock(
    place: str, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    make: Any = getattr(swap, act)
    if act == "replace":
        write_foreign(place, owner=of_the_dead())
    both_have_read, one_is_done, turn = threading.Barrier(2), threading.Event(), threading.Lock()

    def meet(*words: object) -> object:
        """Let the second write only what it made of its reading before the first one was done."""
        both_have_read.wait(30)
        if not turn.acquire(blocking=False):
            assert one_is_done.wait(30)
        return make(*words)

    over = threading.Barrier(2)

    def command(run_id: str) -> str:
        try:
            with held(place, run_id, timing=Timing(renew_seconds=3600, pause=lambda _: None)):
                one_is_done.set()
                over.wait(30)
                return run_id
        except JobError as error:
            over.wait(30)
            return str(error)

    monkeypatch.setattr(swap, act, meet)
    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(command, ("night-2", "night-3")))
    winners = {"night-2", "night-3"} & set(results)
    assert len(winners) == 1
    (loser,) = set(results) - winners
    assert f"is being written by run {winners.pop()} (" in loser
    assert content(place) is None
