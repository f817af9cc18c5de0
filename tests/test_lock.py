"""The lock on an output: who holds it, who is refused, and that nothing is left of it at the end."""

import os
import threading
from pathlib import Path

import pytest

from job import owner, store, swap
from job.errors import JobError
from job.lock import held, is_held_by
from tests.locks import Clock, content
from tests.unprivileged import unprivileged


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an output that does not exist yet."""
    above = str(tmp_path) if request.param == "folder" else f"s3://{request.getfixturevalue('bucket')}"
    return f"{above}/some/out"


def test_a_lock_says_who_holds_it(place: str, clock: Clock) -> None:
    with held(place, "night-1", "erase", timing=clock.timing()) as holder:
        found = content(place)
    assert found is not None
    assert found.pop("acquired_at") <= found.pop("renewed_at")
    assert found == {
        "run_id": "night-1",
        "what": "erase",
        "owner": owner.this_process(),
        "renewals": 0,
        "lasts_seconds": 60.0,
        "token": holder.token,
    }


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_a_lock_is_gone_when_its_holder_ends_in_whatever_way(
    tmp_path: Path, clock: Clock, error: type[BaseException] | None
) -> None:
    def work() -> None:
        with held(str(tmp_path), "night-1", timing=clock.timing()):
            assert content(str(tmp_path)) is not None
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(error):
            work()
    assert content(str(tmp_path)) is None
    assert not [thread for thread in threading.enumerate() if thread.name == "lock"]
    with held(str(tmp_path), "night-2", timing=clock.timing()):
        pass


def test_a_second_command_is_refused_at_once_and_leaves_everything_as_it_is(place: str, clock: Clock) -> None:
    with held(place, "night-1", timing=clock.timing()) as first:
        before = content(place)
        with pytest.raises(JobError) as caught, held(place, "night-2", "erase", timing=clock.timing()):
            pass
        assert content(place) == before
        first.check()
    assert before is not None
    host, since = before["owner"]["host"], before["acquired_at"]
    assert str(caught.value) == (
        f"output {place} is being written by run night-1 (host {host}, process {os.getpid()}, since {since})"
        ": wait for it to end, or stop it"
    )
    assert clock.waited == 0
    assert caught.value.exit_code == 1


def test_folders_that_were_made_are_removed_unless_something_is_in_them(tmp_path: Path, clock: Clock) -> None:
    with held(f"{tmp_path}/some/out", "night-1", timing=clock.timing()):
        assert (tmp_path / "some/out/_lock.json").exists()
    assert not list(tmp_path.iterdir())
    with held(f"{tmp_path}/some/out", "night-1", timing=clock.timing()):
        (tmp_path / "some/out/features").mkdir()
    assert [path.name for path in (tmp_path / "some/out").iterdir()] == ["features"]
    (tmp_path / "some/out/features").rmdir()
    with held(f"{tmp_path}/some/out", "night-1", timing=clock.timing()):
        pass
    assert (tmp_path / "some/out").is_dir(), "it was there before"


def test_a_worker_can_tell_whose_output_it_is(place: str, clock: Clock) -> None:
    with held(place, "night-1", timing=clock.timing()) as earlier:
        assert is_held_by(place, earlier.token)
    assert not is_held_by(place, earlier.token)
    with held(place, "night-1", timing=clock.timing()) as holder:
        assert is_held_by(place, holder.token)
        assert not is_held_by(place, earlier.token), "a run's name can come again"
        store.write_bytes(f"{place}/_lock.json", f'{{"token": "{holder.token}"'.encode())
        assert not is_held_by(place, holder.token)


def test_a_release_that_fails_does_not_hide_what_happened(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error", "x")

    monkeypatch.setattr(swap, "delete", fail)
    with (
        pytest.raises(ValueError, match="the real reason"),
        held(f"{tmp_path}", "night-1", timing=clock.timing()),
    ):
        raise ValueError("the real reason")
    with held(f"{tmp_path}/2", "night-1", timing=clock.timing()):
        pass


def test_an_output_that_may_not_be_written_is_an_error_of_the_system(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "out").mkdir(mode=0)
    try:
        with (
            unprivileged(),
            pytest.raises(PermissionError),
            held(f"{tmp_path}/out/new", "x", timing=clock.timing()),
        ):
            pass
    finally:
        (tmp_path / "out").chmod(0o755)
    assert not list((tmp_path / "out").iterdir())


def test_an_output_that_does_not_answer_is_asked_once(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fail(location: str) -> None:
        asked.append(location)
        raise OSError(5, "S3 failed with SlowDown, status 503", location)

    monkeypatch.setattr(swap, "read", fail)
    with pytest.raises(OSError, match="SlowDown"), held(f"{tmp_path}", "night-1", timing=clock.timing()):
        pass
    assert asked == [f"{tmp_path}/_lock.json"]
