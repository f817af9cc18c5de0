"""Erasures that are killed, or overtaken while they sleep: later commands delete what they leave."""

import errno
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from job.commands import compact
from job.storage import store
from job.table import files, layout, removal, takeover, writer
from job.table.takeover import OvertakenError
from tests.job.commands.test_erase import LOG, assert_derived, assert_whole_without, run_erase, traces_of
from tests.support import outputs, tables
from tests.support.outputs import Output, rows_of


class Killed(BaseException):
    """Ends a command at once, as a kill would."""


def before_each_step(patch: pytest.MonkeyPatch, act: Callable[[str, bytes | None], None]) -> None:
    """Call `act` with location and bytes before each write and deletion."""
    write_bytes, delete_tree, delete_files = store.write_bytes, store.delete_tree, store.delete_files

    def write(location: str, data: bytes, only_if_new: bool = False) -> bool:
        act(location, data)
        return write_bytes(location, data, only_if_new)

    def delete(locations: list[str]) -> None:
        half = len(locations) // 2
        for part in (locations[:half], locations[half:]):  # S3, too, may delete only a part
            act("", None)
            delete_files(part)

    def delete_folder(location: str) -> None:
        act(location, None)
        delete_tree(location)

    patch.setattr(store, "write_bytes", write)
    patch.setattr(store, "delete_tree", delete_folder)
    patch.setattr(store, "delete_files", delete)


def kill(patch: pytest.MonkeyPatch, is_time: Callable[[str], bool]) -> None:
    """Kill the command at a step: it writes and deletes nothing more, and leaves a draft of the file."""
    is_dead = False

    def act(location: str, data: bytes | None) -> None:
        nonlocal is_dead
        if not is_dead and is_time(location):
            is_dead = True
            if data is not None:
                Path(location).parent.mkdir(parents=True, exist_ok=True)
                Path(location).with_name(".0123456789abcdef.draft").write_bytes(data)
        if is_dead:
            raise Killed

    before_each_step(patch, act)


def at_step(step: int) -> Callable[[str], bool]:
    """Return a predicate that is true at the given step."""
    steps = count()
    return lambda _: next(steps) == step


def overtake(patch: pytest.MonkeyPatch, is_time: Callable[[str], bool], other: Callable[[], object]) -> None:
    """Run another command to its end before a step of this one."""
    is_done = False

    def act(location: str, _: object) -> None:
        nonlocal is_done
        if not is_done and is_time(location):
            is_done = True
            other()

    before_each_step(patch, act)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "WATCH_SECONDS", 0)


def test_an_erasure_killed_at_any_step_is_completed_by_the_same_command(
    output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    erased = [*output.changed, *output.missing, output.good[40], output.bad[0]]
    hashes = [output.sha256[path] for path in erased]
    remaining = [path for path in output.good if path not in erased]
    for last_step in count():
        copy = outputs.copied(output, str(tmp_path / f"out-{last_step}"))
        with monkeypatch.context() as patch:
            kill(patch, at_step(last_step))
            try:
                run_erase(copy, sha256=hashes)
                break
            except Killed:
                pass
        assert [row["path"] for row in rows_of(copy.location, layout.FEATURIZED)] in (output.good, remaining)
        run_erase(copy, sha256=hashes)
        assert_whole_without(copy, erased)
    assert last_step > 15


FOLLOWING: Final[dict[str, Callable[[Output, list[str]], object]]] = {
    "the same erasure": lambda output, erased: run_erase(output, paths=erased),
    "another erasure": lambda output, _: run_erase(output, paths=["/nowhere.jpg"]),
    "a compaction": lambda output, _: compact.run(output.location, LOG, keep_versions=24),
    "a run": lambda output, erased: outputs.run(output, gone=erased),
    "a run that keeps versions": lambda output, erased: outputs.run(
        output, "--keep-versions", "24", gone=erased
    ),
}


@pytest.mark.parametrize("command", FOLLOWING)
@pytest.mark.parametrize("step", [layout.MOMENTS, layout.PCA_CSV, layout.ERASURES])
def test_the_next_command_deletes_leftovers_of_a_killed_erasure(
    output: Output, monkeypatch: pytest.MonkeyPatch, step: str, command: str
) -> None:
    erased = [output.good[20], output.bad[0]]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill(patch, lambda location: location.startswith(f"{output.location}/{step}/"))
        run_erase(output, paths=erased)
    assert traces_of(output, erased)
    FOLLOWING[command](output, erased)
    assert traces_of(output, erased) == []
    outputs.run(output, gone=erased)
    assert_whole_without(output, erased)


def test_an_erasure_that_cannot_write_fails_and_the_next_command_need_not_wait(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(location: str, _: object) -> None:
        if "/moments/" in location:
            raise OSError(errno.ENOSPC, "No space left on device")

    erased = [output.good[20]]
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        before_each_step(patch, fail)
        run_erase(output, paths=erased)
    assert traces_of(output, erased) == [], "files that left the table are deleted all the same"
    snapshot = tables.snapshot(output.location)
    assert snapshot.writer == snapshot.ended
    run_erase(output, paths=erased)
    assert_whole_without(output, erased)


@pytest.mark.parametrize(
    ("step", "is_committed"),
    [
        (layout.MISSING, False),
        (f"{layout.PHOTOS}/outcome", False),
        (layout.MOMENTS, True),
        (layout.PCA, True),
    ],
)
def test_an_overtaken_erasure_stops_when_it_wakes(
    output: Output, monkeypatch: pytest.MonkeyPatch, step: str, is_committed: bool
) -> None:
    first, second = [output.good[40], *output.missing], [output.good[42], *output.changed, output.bad[0]]
    outputs.run(output, gone=second[:1])  # one is missing and erased
    with monkeypatch.context() as patch, pytest.raises(OvertakenError):
        other = partial(run_erase, output, paths=second, erasure_id="erasure-2")
        overtake(patch, lambda location: location.startswith(f"{output.location}/{step}"), other)
        run_erase(output, paths=first)
    assert traces_of(output, second) == []
    assert not Path(output.location, layout.ERASURES, "erasure-1.json").exists()
    all_erased = [*second, *first] if is_committed else second
    remaining = [row["path"] for row in rows_of(output.location, layout.FEATURIZED)]
    assert remaining == [path for path in output.good if path not in all_erased]
    outputs.run(output, gone=all_erased)
    assert_derived(output.location)


@pytest.mark.parametrize("folder", [layout.MISSING, layout.PCA, layout.PCA_CSV])
def test_an_overtaken_run_leaves_no_trace_of_the_erased_photos_when_it_wakes(
    output: Output, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    file = min(tables.snapshot(output.location).files_of(layout.FEATURIZED)).path
    erased = files.read(files.location(output.location, file))["path"].to_pylist()[:1]
    with monkeypatch.context() as patch, pytest.raises(OvertakenError):
        other = partial(run_erase, output, paths=erased)
        overtake(patch, lambda location: location.startswith(f"{output.location}/{folder}/"), other)
        outputs.run(output, "--components", "5", "--refit", "auto", gone=erased)
    assert traces_of(output, erased) == []
    outputs.run(output, "--refit", "always", gone=erased)
    assert_whole_without(output, erased)


def test_an_overtaken_command_leaves_the_files_of_its_successor_when_it_wakes(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = min(tables.snapshot(output.location).files_of(layout.FEATURIZED)).path
    erased = files.read(files.location(output.location, file))["path"].to_pylist()[:1]
    asleep = writer.Writer(output.location, "asleep", "erase")
    asleep.begin(lambda _: [], print)
    removal.remove_photos(asleep, {file: erased})

    def wake() -> None:
        with pytest.raises(OvertakenError):
            asleep.end()

    with monkeypatch.context() as patch:
        overtake(patch, lambda location: location.endswith(layout.CURRENT_MODEL), wake)
        outputs.run(output, "--components", "5", "--refit", "auto", gone=erased)
    assert_derived(output.location)
