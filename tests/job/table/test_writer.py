"""One command writes at a time: it lives by its commits, and one that was overtaken does no harm."""

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
    """Look often, but watch for a minute as the job does; a test can set other times."""
    monkeypatch.setattr(takeover, "POLL_SECONDS", 0.005)
    return monkeypatch


@pytest.fixture
def server(aws_environment: pytest.MonkeyPatch) -> Iterator[Server]:
    """Run the small S3 server; whoever waits for an answer in vain gives up soon."""
    with chaos(aws_environment, silence=0.2) as started:
        yield started


@pytest.fixture
def landed(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Count the commits that land."""
    semaphore, put = threading.Semaphore(0), commits.write

    def counted(*given: Any) -> bool:
        has_landed = put(*given)
        if has_landed:
            semaphore.release()
        return has_landed

    monkeypatch.setattr(commits, "write", counted)
    return semaphore


def begun(output: str, run_id: str) -> Writer:
    """Begin a command; the test ends it."""
    command = Writer(output, run_id, "run")
    command.begin(first_actions(output), lambda _: None)
    return command


def checkpoints(output: str) -> list[int]:
    """Return the versions that have a checkpoint."""
    found = store.list_files(f"{output}/{LOG}", commits.CHECKPOINT)
    return [int(location.rpartition("/")[2][:20]) for location, _ in found]


def test_a_command_begins_with_the_next_number_and_ends_with_it(tmp_path: Path) -> None:
    output = str(tmp_path)
    for number in (1, 2):
        with writing(output) as own:
            assert own.number == number
            assert (snapshot(output).writer, snapshot(output).ended) == (number, number - 1)
        assert (snapshot(output).writer, snapshot(output).ended) == (number, number)
    assert snapshot(output).version == 3


def test_files_come_and_go_by_one_commit(tmp_path: Path) -> None:
    output = str(tmp_path)
    old = [file.path for file in make(output, A, B, BAD).files_of(FEATURIZED)]
    with writing(output) as own:
        new = written(output, own.number, A)
        assert photos(output) == [A, B, BAD], "it is not committed"
        own.commit([new], old)
        assert photos(output) == [A, BAD]
        assert own.snapshot.files == snapshot(output).files
        assert (own.snapshot.rows(FEATURIZED), own.snapshot.rows(REJECTED)) == (1, 1)
        assert own.snapshot.version == snapshot(output).version == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_was_committed_as_the_command_was_interrupted_stays_and_the_next_need_not_wait(
    tmp_path: Path, seconds: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    output, put = str(tmp_path), commits.write
    [old] = make(output, A, B).files

    def interrupted(*given: Any) -> None:
        seconds.setattr(commits, "write", put)
        put(*given)
        raise error

    with pytest.raises(error), writing(output) as own:
        seconds.setattr(commits, "write", interrupted)
        written(output, own.number, B, task=1)
        own.commit([written(output, own.number, A)], [old])
    with writing(output, say=pytest.fail):
        assert photos(output) == [A]
    assert unnamed(output) == set()


def test_the_second_of_two_commands_ends_with_a_sentence_and_leaves_all_as_it_is(tmp_path: Path) -> None:
    output, said = str(tmp_path), list[str]()
    with writing(output, "r-1") as first:
        first.commit([written(output, first.number, A)])

        def live(text: str) -> None:
            said.append(text)
            first.commit()

        before = tree(output)
        with pytest.raises(OvertakenError) as caught, writing(output, "r-2", say=live):
            pytest.fail("there are two")
        life = f"{LOG}/{snapshot(output).version:020}.json"
        assert {name: data for name, data in tree(output).items() if name != life} == before
    sentence = f"output {output} is being written by {NAME}: wait for it to end, or stop it"
    assert re.fullmatch(sentence, str(caught.value))
    assert caught.value.exit_code == 1
    [told] = said
    assert re.fullmatch(f"{NAME} has not ended: waiting up to 60 s to see whether it still lives", told)


def test_a_command_with_nothing_to_do_lives_by_commits(tmp_path: Path, seconds: pytest.MonkeyPatch) -> None:
    seconds.setattr(writer, "HEARTBEAT_SECONDS", 0.02)
    output = str(tmp_path)
    with writing(output), pytest.raises(OvertakenError, match="written by run r-1"), writing(output):
        pytest.fail("it was taken for dead")


def test_a_command_lives_while_it_looks_for_what_to_delete(
    tmp_path: Path, seconds: pytest.MonkeyPatch, landed: threading.Semaphore
) -> None:
    def look(_: str) -> Iterator[str]:
        seconds.setattr(store, "list_drafts", lambda _: iter(()))
        seconds.setattr(writer, "HEARTBEAT_SECONDS", 0.02)
        assert landed.acquire(timeout=5), "it will be taken for dead"
        return iter(())

    seconds.setattr(store, "list_drafts", look)
    with writing(str(tmp_path)):
        assert landed.acquire(timeout=5)


def test_one_that_ends_while_it_is_watched_is_followed_at_once(tmp_path: Path) -> None:
    first = begun(str(tmp_path), "r-1")
    with writing(str(tmp_path), say=lambda _: first.end()):
        assert (snapshot(str(tmp_path)).writer, snapshot(str(tmp_path)).ended) == (2, 1)


def test_one_that_is_overtaken_right_after_its_first_commit_writes_nothing(
    tmp_path: Path, seconds: pytest.MonkeyPatch
) -> None:
    seconds.setattr(takeover, "WATCH_SECONDS", 0.1)
    output, put, second = str(tmp_path), commits.write, list[Writer]()

    def put_and_sleep(*given: Any) -> bool:
        seconds.setattr(commits, "write", put)
        has_landed = put(*given)
        second.append(begun(output, "r-2"))
        return has_landed

    seconds.setattr(commits, "write", put_and_sleep)
    with pytest.raises(OvertakenError, match=r"run r-2 .* has taken it over"), writing(output, "r-1"):
        pytest.fail("there are two")
    second[0].end()


def test_what_is_reported_is_committed_wave_by_wave(
    tmp_path: Path, seconds: pytest.MonkeyPatch, landed: threading.Semaphore
) -> None:
    output, reports = str(tmp_path), list[Report]()
    [old] = make(output, A, B).files
    with writing(output) as own:
        while landed.acquire(blocking=False):
            pass
        with own.committing_reports(lambda: list(reports), pytest.fail):
            for number, (path, there) in enumerate({A: [A], B: [A, B], BAD: [A, B, BAD]}.items()):
                new = written(output, own.number, path, task=number)
                reports.append(Report(number, [new], [old][number:], 1, 0.0))
                seconds.setattr(writer, "COMMIT_SECONDS", 0)
                assert landed.acquire(timeout=5)
                assert photos(output) == there
            seconds.setattr(writer, "COMMIT_SECONDS", 60)
            reports.append(Report(3, [written(output, own.number, C, task=3)], [], 1, 0.0))
        assert photos(output) == [A, B, BAD, C], "the last come at the end of the block"
        assert landed.acquire(blocking=False)
        assert not landed.acquire(blocking=False), "one commit for each wave"


def test_the_workers_of_one_that_was_overtaken_are_called_off(
    tmp_path: Path, seconds: pytest.MonkeyPatch
) -> None:
    seconds.setattr(takeover, "WATCH_SECONDS", 0.1)
    seconds.setattr(writer, "COMMIT_SECONDS", 0)
    output, called_off, reports = str(tmp_path), threading.Event(), list[Report]()
    first = begun(output, "r-1")
    with (
        pytest.raises(OvertakenError, match=r"run r-2 .* has taken it over"),
        first.committing_reports(lambda: list(reports), called_off.set),
    ):
        second = begun(output, "r-2")
        reports.append(Report(0, [written(output, first.number, A)], [], 1, 0.0))
        called_off.wait(5)
        raise InterruptedError("Spark's job was cancelled")
    assert called_off.is_set()
    assert snapshot(output).files == {}
    second.end()


def test_another_programs_commits_come_between_and_ours_go_on_after_them(tmp_path: Path) -> None:
    output = str(tmp_path)
    make(output, A)
    with writing(output) as own:
        foreign(output, B)
        own.commit([written(output, own.number, C)])
        assert photos(output) == [A, B, C]
        assert own.snapshot.files == snapshot(output).files
        foreign(output, BAD)  # after our last one
    assert photos(output) == [A, B, BAD, C]
    assert unnamed(output) == set()


def test_a_file_that_another_program_replaced_is_not_replaced_again(tmp_path: Path) -> None:
    output = str(tmp_path)
    [old] = make(output, A, B).files
    with writing(output) as own:
        DeltaTable(f"{output}/photos").delete()
        foreign(output, A, B)
        for _ in range(2):  # found at the commit, and after it
            with pytest.raises(JobError, match=f"{old} .*was replaced by another program: start again"):
                own.commit([written(output, own.number, A)], [old])
    assert photos(output) == [A, B]


def test_checkpoints_come_every_so_many_commits_and_at_the_end_if_something_changed(
    tmp_path: Path, seconds: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path)
    seconds.setattr(writer, "COMMITS_PER_CHECKPOINT", 10)
    for photo, found in (("", [1]), ("", [1]), (A, [1, 6]), ("", [1, 6])):
        with writing(output) as own:
            if photo:
                own.commit([written(output, own.number, photo)])
        assert checkpoints(output) == found
    with writing(output) as own:
        for _ in range(25):
            own.commit()
        *_, first, last = checkpoints(output)
        assert last - first == 10
    assert checkpoints(output)[-1] == last, "nothing has changed"
    for _ in range(6):
        with writing(output):
            pass
    assert checkpoints(output)[-1] - last >= 10, "commits of commands that change nothing count, too"


def test_a_checkpoint_that_fails_harms_nobody(tmp_path: Path, seconds: pytest.MonkeyPatch) -> None:
    output, write = str(tmp_path), store.write_bytes

    def fail(place: str, data: bytes, only_if_new: bool = False) -> bool:
        if place.endswith(commits.CHECKPOINT):
            raise OSError(28, "No space left on device")
        return write(place, data, only_if_new)

    seconds.setattr(store, "write_bytes", fail)
    make(output, A)
    make(output, B)
    assert (photos(output), checkpoints(output)) == ([A, B], [])


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.SILENT, Fault.CUT, Fault.INTERNAL_ERROR])
def test_a_commit_whose_answer_is_lost_lands_once_and_the_command_goes_on(
    server: Server, fault: Fault
) -> None:
    for nth in (1, 3):  # of the requests: the second is the first once more
        server.on("PUT", f"out/{LOG}/*.json", nth, "after", fault)
    with writing(S3) as own:
        new = [written(S3, own.number, path, task=task) for task, path in enumerate((A, B))]
        for file in new:
            own.commit([file])
    assert server.faults.done[fault.name] == 2
    assert (snapshot(S3).version, snapshot(S3).ended) == (3, 1)
    assert [actions(S3, version)[1]["add"]["path"] for version in (1, 2)] == [file.path for file in new]
    assert (photos(S3), unnamed(S3)) == ([A, B], set())


def test_a_commit_that_has_landed_and_was_given_up_is_not_made_twice(
    server: Server, seconds: pytest.MonkeyPatch
) -> None:
    [old] = make(S3, A, B).files
    seconds.setattr(retries, "RETRY_POLICY", Waits().patience(0))
    with writing(S3) as own:
        new = written(S3, own.number, A)
        server.on("PUT", f"out/{LOG}/*.json", 1, "after", Fault.RESET)
        with pytest.raises(OSError, match="S3 failed"):
            own.commit([new], [old])
        own.commit([new], [old])
        assert own.snapshot == snapshot(S3)
        assert own.snapshot.version == 4
    assert photos(S3) == [A]
