"""One command writes at a time: its commits show that it lives, and an overtaken one does no harm."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from deltalake import DeltaTable

from job.errors import JobError
from job.storage import retries, store
from job.table import commits, takeover, writer
from job.table.layout import FEATURIZED, REJECTED, Report
from job.table.takeover import OvertakenError
from job.table.writer import Writer
from scripts.s3_server.faults import Fault
from scripts.s3_server.server import Server
from tests.support.chaos_s3 import BUCKET, Waits, chaos
from tests.support.tables import (
    BAD,
    LOG,
    A,
    B,
    C,
    actions,
    first_actions,
    foreign,
    make,
    photos,
    snapshot,
    tree,
    unnamed,
    writing,
    written,
)

S3: Final = f"s3://{BUCKET}/out"
NAME: Final = r"run r-\d \(host \S+, process \d+\)"


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Poll often, but watch for a minute as the job does; a test can set other intervals."""
    monkeypatch.setattr(takeover, "POLL_SECONDS", 0.005)
    return monkeypatch


@pytest.fixture
def server(aws_environment: pytest.MonkeyPatch) -> Iterator[Server]:
    """Run the small S3 server, for clients with a short timeout."""
    with chaos(aws_environment, silence=0.2) as started:
        yield started


@pytest.fixture
def landed(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Return a semaphore that each landed commit releases."""
    semaphore, write = threading.Semaphore(0), commits.write

    def count_if_landed(*arguments: Any) -> bool:
        has_landed = write(*arguments)
        if has_landed:
            semaphore.release()
        return has_landed

    monkeypatch.setattr(commits, "write", count_if_landed)
    return semaphore


def begun(output: str, run_id: str) -> Writer:
    """Return a command that has begun; the test ends it."""
    command = Writer(output, run_id, "run")
    command.begin(first_actions(output), lambda _: None)
    return command


def checkpoints(output: str) -> list[int]:
    """Return the versions that have a checkpoint."""
    checkpoint_files = store.list_files(f"{output}/{LOG}", commits.CHECKPOINT)
    return [int(location.rpartition("/")[2][:20]) for location, _ in checkpoint_files]


def test_a_command_records_the_next_number_when_it_begins_and_ends(tmp_path: Path) -> None:
    output = str(tmp_path)
    for number in (1, 2):
        with writing(output) as run:
            assert run.number == number
            assert (snapshot(output).writer, snapshot(output).ended) == (number, number - 1)
        assert (snapshot(output).writer, snapshot(output).ended) == (number, number)
    assert snapshot(output).version == 3


def test_one_commit_adds_and_removes_files(tmp_path: Path) -> None:
    output = str(tmp_path)
    old = [file.path for file in make(output, A, B, BAD).files_of(FEATURIZED)]
    with writing(output) as run:
        new = written(output, run.number, A)
        assert photos(output) == [A, B, BAD], "it is not committed"
        run.commit([new], old)
        assert photos(output) == [A, BAD]
        assert run.snapshot.files == snapshot(output).files
        assert (run.snapshot.rows(FEATURIZED), run.snapshot.rows(REJECTED)) == (1, 1)
        assert run.snapshot.version == snapshot(output).version == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_commit_during_an_interruption_stays_and_the_next_command_need_not_wait(
    tmp_path: Path, seconds: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    output, write = str(tmp_path), commits.write
    [old] = make(output, A, B).files

    def commit_and_raise(*arguments: Any) -> None:
        seconds.setattr(commits, "write", write)
        write(*arguments)
        raise error

    with pytest.raises(error), writing(output) as run:
        seconds.setattr(commits, "write", commit_and_raise)
        written(output, run.number, B, task=1)
        run.commit([written(output, run.number, A)], [old])
    with writing(output, say=pytest.fail):
        assert photos(output) == [A]
    assert unnamed(output) == set()


def test_the_second_of_two_commands_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    output, messages = str(tmp_path), list[str]()
    with writing(output, "r-1") as first:
        first.commit([written(output, first.number, A)])

        def live(text: str) -> None:
            messages.append(text)
            first.commit()

        before = tree(output)
        with pytest.raises(OvertakenError) as caught, writing(output, "r-2", say=live):
            pytest.fail("two commands write")
        sign_of_life = f"{LOG}/{snapshot(output).version:020}.json"
        assert {name: data for name, data in tree(output).items() if name != sign_of_life} == before
    sentence = f"output {output} is being written by {NAME}: wait for it to end, or stop it"
    assert re.fullmatch(sentence, str(caught.value))
    assert caught.value.exit_code == 1
    [message] = messages
    assert re.fullmatch(f"{NAME} has not ended: waiting up to 60 s to see whether it still lives", message)


def test_an_idle_command_shows_by_commits_that_it_lives(tmp_path: Path, seconds: pytest.MonkeyPatch) -> None:
    seconds.setattr(writer, "HEARTBEAT_SECONDS", 0.02)
    output = str(tmp_path)
    with writing(output), pytest.raises(OvertakenError, match="written by run r-1"), writing(output):
        pytest.fail("a living command was overtaken")


def test_a_command_commits_while_it_lists_files_to_delete(
    tmp_path: Path, seconds: pytest.MonkeyPatch, landed: threading.Semaphore
) -> None:
    def list_slowly(*_: object, **__: object) -> Iterator[str]:
        seconds.setattr(store, "list_drafts", lambda *_, **__: iter(()))
        seconds.setattr(writer, "HEARTBEAT_SECONDS", 0.02)
        assert landed.acquire(timeout=5), "no commit shows that it lives"
        return iter(())

    seconds.setattr(store, "list_drafts", list_slowly)
    with writing(str(tmp_path)):
        assert landed.acquire(timeout=5)


def test_the_next_command_begins_as_soon_as_the_watched_one_ends(tmp_path: Path) -> None:
    first = begun(str(tmp_path), "r-1")
    with writing(str(tmp_path), say=lambda _: first.end()):
        assert (snapshot(str(tmp_path)).writer, snapshot(str(tmp_path)).ended) == (2, 1)


def test_a_command_overtaken_right_after_its_first_commit_writes_nothing(
    tmp_path: Path, seconds: pytest.MonkeyPatch
) -> None:
    seconds.setattr(takeover, "WATCH_SECONDS", 0.1)
    output, write, second = str(tmp_path), commits.write, list[Writer]()

    def write_and_sleep(*arguments: Any) -> bool:
        seconds.setattr(commits, "write", write)
        has_landed = write(*arguments)
        second.append(begun(output, "r-2"))
        return has_landed

    seconds.setattr(commits, "write", write_and_sleep)
    with pytest.raises(OvertakenError, match=r"run r-2 .* has taken it over"), writing(output, "r-1"):
        pytest.fail("two commands write")
    second[0].end()


def test_reported_files_are_committed_wave_by_wave(
    tmp_path: Path, seconds: pytest.MonkeyPatch, landed: threading.Semaphore
) -> None:
    output, reports = str(tmp_path), list[Report]()
    [old] = make(output, A, B).files
    with writing(output) as run:
        while landed.acquire(blocking=False):
            pass
        with run.committing_reports(lambda: list(reports), pytest.fail):
            for number, (path, expected) in enumerate({A: [A], B: [A, B], BAD: [A, B, BAD]}.items()):
                new = written(output, run.number, path, task=number)
                reports.append(Report(number, [new], [old][number:], 1, 0.0))
                seconds.setattr(writer, "COMMIT_SECONDS", 0)
                assert landed.acquire(timeout=5)
                assert photos(output) == expected
            seconds.setattr(writer, "COMMIT_SECONDS", 60)
            reports.append(Report(3, [written(output, run.number, C, task=3)], [], 1, 0.0))
        assert photos(output) == [A, B, BAD, C], "the block's end commits the last report"
        assert landed.acquire(blocking=False)
        assert not landed.acquire(blocking=False), "one commit for each wave"


def test_the_workers_of_an_overtaken_command_are_cancelled(
    tmp_path: Path, seconds: pytest.MonkeyPatch
) -> None:
    seconds.setattr(takeover, "WATCH_SECONDS", 0.1)
    seconds.setattr(writer, "COMMIT_SECONDS", 0)
    output, cancelled, reports = str(tmp_path), threading.Event(), list[Report]()
    first = begun(output, "r-1")
    with (
        pytest.raises(OvertakenError, match=r"run r-2 .* has taken it over"),
        first.committing_reports(lambda: list(reports), cancelled.set),
    ):
        second = begun(output, "r-2")
        reports.append(Report(0, [written(output, first.number, A)], [], 1, 0.0))
        cancelled.wait(5)
        raise InterruptedError("Spark's job was cancelled")
    assert cancelled.is_set()
    assert snapshot(output).files == {}
    second.end()


def test_a_command_commits_after_the_commits_of_another_program(tmp_path: Path) -> None:
    output = str(tmp_path)
    make(output, A)
    with writing(output) as run:
        foreign(output, B)
        run.commit([written(output, run.number, C)])
        assert photos(output) == [A, B, C]
        assert run.snapshot.files == snapshot(output).files
        foreign(output, BAD)  # after our last one
    assert photos(output) == [A, B, BAD, C]
    assert unnamed(output) == set()


def test_a_file_that_another_program_replaced_cannot_be_replaced_again(tmp_path: Path) -> None:
    output = str(tmp_path)
    [old] = make(output, A, B).files
    with writing(output) as run:
        DeltaTable(f"{output}/photos").delete()
        foreign(output, A, B)
        for _ in range(2):  # found at the commit, and after it
            with pytest.raises(JobError, match=f"{old} .*was replaced by another program: start again"):
                run.commit([written(output, run.number, A)], [old])
    assert photos(output) == [A, B]


def test_checkpoints_are_written_every_ten_commits_and_after_changes(
    tmp_path: Path, seconds: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path)
    seconds.setattr(writer, "COMMITS_PER_CHECKPOINT", 10)
    for photo, expected in (("", [1]), ("", [1]), (A, [1, 6]), ("", [1, 6])):
        with writing(output) as run:
            if photo:
                run.commit([written(output, run.number, photo)])
        assert checkpoints(output) == expected
    with writing(output) as run:
        for _ in range(25):
            run.commit()
        *_, first, last = checkpoints(output)
        assert last - first == 10
    assert checkpoints(output)[-1] == last, "nothing has changed"
    for _ in range(6):
        with writing(output):
            pass
    assert checkpoints(output)[-1] - last >= 10, "commits of commands that change nothing count, too"


def test_a_failed_checkpoint_does_no_harm(tmp_path: Path, seconds: pytest.MonkeyPatch) -> None:
    output, write = str(tmp_path), store.write_bytes

    def fail(location: str, data: bytes, only_if_new: bool = False) -> bool:
        if location.endswith(commits.CHECKPOINT):
            raise OSError(28, "No space left on device")
        return write(location, data, only_if_new)

    seconds.setattr(store, "write_bytes", fail)
    make(output, A)
    make(output, B)
    assert (photos(output), checkpoints(output)) == ([A, B], [])


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.SILENT, Fault.CUT, Fault.INTERNAL_ERROR])
def test_a_commit_whose_answer_is_lost_lands_once(server: Server, fault: Fault) -> None:
    for nth in (1, 3):  # the second request repeats the first
        server.on("PUT", f"out/{LOG}/*.json", nth, "after", fault)
    with writing(S3) as run:
        new = [written(S3, run.number, path, task=task) for task, path in enumerate((A, B))]
        for file in new:
            run.commit([file])
    assert server.faults.done[fault.name] == 2
    assert (snapshot(S3).version, snapshot(S3).ended) == (3, 1)
    assert [actions(S3, version)[1]["add"]["path"] for version in (1, 2)] == [file.path for file in new]
    assert (photos(S3), unnamed(S3)) == ([A, B], set())


def test_a_landed_commit_that_was_given_up_is_not_repeated(
    server: Server, seconds: pytest.MonkeyPatch
) -> None:
    [old] = make(S3, A, B).files
    seconds.setattr(retries, "RETRY_POLICY", Waits().patience(0))
    with writing(S3) as run:
        new = written(S3, run.number, A)
        server.on("PUT", f"out/{LOG}/*.json", 1, "after", Fault.RESET)
        with pytest.raises(OSError, match="S3 failed"):
            run.commit([new], [old])
        run.commit([new], [old])
        assert run.snapshot == snapshot(S3)
        assert run.snapshot.version == 4
    assert photos(S3) == [A]
