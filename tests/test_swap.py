"""Compare and swap: what changed since it was read is neither replaced nor deleted, whoever is faster."""

import contextlib
import errno
import fcntl
import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Final

import pytest

from job import s3, store, swap
from job.errors import UsageError
from job.retry import Patience, TransientError
from job.swap import Seen
from tests.s3_servers import Answer, ScriptedS3, error_body
from tests.unprivileged import unprivileged

OBJECT: Final = "s3://photos/out/_lock.json"


@pytest.fixture(params=["folder", "s3"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where a file can be made; the folders above it are missing."""
    above = str(tmp_path) if request.param == "folder" else f"s3://{request.getfixturevalue('bucket')}"
    return f"{above}/some/out/_lock.json"


def seen(file: str) -> Seen:
    found = swap.read(file)
    assert found is not None
    return found


def test_a_file_is_created_once(file: str) -> None:
    assert swap.read(file) is None
    assert swap.create(file, b"one", [])
    assert not swap.create(file, b"two", [])
    assert seen(file).data == b"one"


def test_a_file_is_replaced_only_while_it_is_what_was_read(file: str) -> None:
    swap.create(file, b"one", [])
    before = seen(file)
    after = swap.replace(file, before, b"two")
    assert after == seen(file)
    assert after.data == b"two"
    assert swap.replace(file, before, b"three") is None
    assert seen(file) == after
    assert swap.replace(file, after, b"three") is not None


def test_a_file_is_deleted_only_while_it_is_what_was_read(file: str) -> None:
    swap.create(file, b"one", [])
    before = seen(file)
    after = swap.replace(file, before, b"two")
    assert after is not None
    assert not swap.delete(file, before)
    assert seen(file) == after
    assert swap.delete(file, after)
    assert swap.read(file) is None


def test_what_is_gone_is_neither_replaced_nor_deleted(file: str) -> None:
    swap.create(file, b"one", [])
    before = seen(file)
    swap.delete(file, before)
    assert swap.replace(file, before, b"two") is None
    assert not swap.delete(file, before)
    assert swap.read(file) is None


def test_folders_that_had_to_be_made_are_known_and_removed_while_they_are_empty(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    made: list[Path] = []
    swap.create(f"{tmp_path}/there/a/b/_lock.json", b"one", made)
    assert made == [tmp_path / "there/a/b", tmp_path / "there/a"]
    swap.remove_empty(made)
    assert (tmp_path / "there/a/b/_lock.json").exists()
    (tmp_path / "there/a/b/_lock.json").unlink()
    (tmp_path / "there/a/other").touch()
    swap.remove_empty(made)
    assert [path.name for path in (tmp_path / "there").rglob("*")] == ["a", "other"]
    (tmp_path / "there/a/other").unlink()
    swap.remove_empty(made[1:])
    assert list(tmp_path.iterdir()) == [tmp_path / "there"]


def test_a_folder_that_another_process_removes_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, calls = swap._make, []

    def made_and_lost(folder: Path) -> list[Path]:
        made = make(folder)
        calls.append(made)
        if len(calls) < 3:
            folder.rmdir()
        return made

    monkeypatch.setattr(swap, "_make", made_and_lost)
    assert swap.create(f"{tmp_path}/out/_lock.json", b"one", [])
    assert len(calls) == 3


def test_a_folder_that_was_made_anew_while_its_lock_was_waited_for_is_not_the_one_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out/_lock.json"
    swap.create(str(file), b"one", [])

    def made_anew(_: int, __: int) -> None:
        file.parent.rename(tmp_path / "old")
        file.parent.mkdir()
        file.write_bytes(b"one")

    monkeypatch.setattr(fcntl, "flock", made_anew)
    assert swap.replace(str(file), Seen(b"one"), b"two") is None
    assert file.read_bytes() == b"one"


def test_a_link_that_leads_to_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "_lock.json").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError):
        swap.read(f"{tmp_path}/_lock.json")


def test_a_folder_that_may_not_be_written_is_a_permission_error(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0)
    try:
        with unprivileged():
            for place in ("out/_lock.json", "out/new/_lock.json"):
                with pytest.raises(PermissionError):
                    swap.create(f"{tmp_path}/{place}", b"one", [])
    finally:
        (tmp_path / "out").chmod(0o755)
    assert not list((tmp_path / "out").iterdir())


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    for place in ("out/_lock.json", "out/new/_lock.json"):
        with pytest.raises((FileExistsError, NotADirectoryError)):
            swap.create(f"{tmp_path}/{place}", b"one", [])


def test_a_file_system_that_cannot_lock_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int, __: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    number = errno.ENOLCK
    assert swap.create(f"{tmp_path}/_lock.json", b"one", [])
    assert swap.replace(f"{tmp_path}/_lock.json", Seen(b"one"), b"two")
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        swap.replace(f"{tmp_path}/_lock.json", Seen(b"two"), b"three")


def race(file: str, name: str, together: Barrier, apart: Barrier, won: "Queue[bool]") -> None:
    """Replace a file in a process of its own, and wait for the other one between comparing and writing."""
    write = store.write_bytes

    def slow(location: str, data: bytes, only_if_new: bool = False) -> bool:
        with contextlib.suppress(threading.BrokenBarrierError):
            apart.wait(0.3)  # nobody comes: the folder's lock keeps the other out
        return write(location, data, only_if_new)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "write_bytes", slow)
        before = seen(file)
        together.wait(60)
        won.put(swap.replace(file, before, name.encode()) is not None)


def test_of_two_processes_that_replace_the_same_one_wins(tmp_path: Path) -> None:
    file = f"{tmp_path}/_lock.json"
    swap.create(file, b"stale", [])
    spawn = multiprocessing.get_context("spawn")
    together, apart, won = spawn.Barrier(2), spawn.Barrier(2), spawn.Queue()
    racers = [spawn.Process(target=race, args=(file, name, together, apart, won)) for name in ("one", "two")]
    for racer in racers:
        racer.start()
    results = [won.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    assert sorted(results) == [False, True]
    assert seen(file).data in (b"one", b"two")


@pytest.mark.parametrize(
    "ask",
    [
        lambda: swap.read(OBJECT),
        lambda: swap.create(OBJECT, b"one", []),
        lambda: swap.replace(OBJECT, Seen(b"one", '"1"'), b"two"),
    ],
)
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(403, "AccessDenied", PermissionError), (500, "InternalError", TransientError)],
)
def test_s3_that_refuses_or_fails_is_an_error_in_a_file_systems_words(
    scripted_s3: ScriptedS3,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[], object],
    status: int,
    code: str,
    kind: type[OSError],
) -> None:
    for module in (s3, swap):
        monkeypatch.setattr(module, "PATIENCE", Patience(seconds=0))
    answer = Answer(status, error_body(code))
    scripted_s3.rules.append(lambda method, _: None if method == "HEAD" else answer)
    with pytest.raises(kind) as caught:
        ask()
    assert type(caught.value) is kind
    assert caught.value.filename == OBJECT


def test_s3_that_does_not_delete_is_an_error(scripted_s3: ScriptedS3) -> None:
    with pytest.raises(OSError, match="status 501") as caught:  # it knows no DELETE
        swap.delete(OBJECT, Seen(b"one", '"1"'))
    assert caught.value.filename == OBJECT
    assert scripted_s3.targets("HEAD") == ["/photos"]


def test_a_bucket_that_is_gone_is_no_missing_file(bucket: str) -> None:
    file = f"s3://{bucket}/out/_lock.json"
    assert swap.read(file) is None
    s3.client(bucket).delete_bucket(Bucket=bucket)
    with pytest.raises(OSError, match="NoSuchBucket"):
        swap.read(file)


def test_a_key_that_cannot_be_written_is_a_usage_error(bucket: str) -> None:
    file = f"s3://{bucket}/a//b/_lock.json"
    assert swap.read(file) is None
    with pytest.raises(UsageError, match="cannot be written"):
        swap.create(file, b"one", [])
