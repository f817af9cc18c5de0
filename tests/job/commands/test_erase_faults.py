"""An erasure that is killed, or that another command overtakes while it sleeps: what it leaves goes."""

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
from tests.job.commands.test_erase import LOG, assert_derived, assert_right, do, traces_of
from tests.support import outputs, tables
from tests.support.outputs import Output, rows_of


class Killed(BaseException):
    """Ends a command at once, as a kill does."""


def before_each_step(patch: pytest.MonkeyPatch, act: Callable[[str, bytes | None], None]) -> None:
    """Do something before each write and each deletion of the store's; it is told where, and what of."""
    write_bytes, delete_tree, delete_files = store.write_bytes, store.delete_tree, store.delete_files

    def write(place: str, data: bytes, only_if_new: bool = False) -> bool:
        act(place, data)
        return write_bytes(place, data, only_if_new)

    def delete(places: list[str]) -> None:
        half = len(places) // 2
        for some in (places[:half], places[half:]):  # S3, too, may have deleted some of many
            act("", None)
            delete_files(some)

    def remove(place: str) -> None:
        act(place, None)
        delete_tree(place)

    patch.setattr(store, "write_bytes", write)
    patch.setattr(store, "delete_tree", remove)
    patch.setattr(store, "delete_files", delete)


def kill(patch: pytest.MonkeyPatch, is_time: Callable[[str], bool]) -> None:
    """Kill the command at a step: nothing is written or deleted any more, and a file is left half-written."""
    dead = False

    def act(place: str, data: bytes | None) -> None:
        nonlocal dead
        if not dead and is_time(place):
            dead = True
            if data is not None:
                Path(place).parent.mkdir(parents=True, exist_ok=True)
                Path(place).with_name(".0123456789abcdef.draft").write_bytes(data)
        if dead:
            raise Killed

    before_each_step(patch, act)


def at_step(step: int) -> Callable[[str], bool]:
    """Return what tells whether it is time for the so-manieth step."""
    steps = count()
    return lambda _: next(steps) == step


def overtake(patch: pytest.MonkeyPatch, is_time: Callable[[str], bool], other: Callable[[], object]) -> None:
    """Let another command run, whole, before a step of this one."""
    is_done = False

    def act(place: str, _: object) -> None:
        nonlocal is_done
        if not is_done and is_time(place):
            is_done = True
            other()

    before_each_step(patch, act)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "WATCH_SECONDS", 0)


def test_killed_at_any_step_an_erasure_is_completed_by_the_same_words(
    output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = [*output.changed, *output.missing, output.good[40], output.bad[0]]
    hashes = [output.sha256[path] for path in gone]
    left = [path for path in output.good if path not in gone]
    for last_step in count():
        made = outputs.copied(output, str(tmp_path / f"out-{last_step}"))
        with monkeypatch.context() as patch:
            kill(patch, at_step(last_step))
            try:
                do(made, sha256=hashes)
                break
            except Killed:
                pass
        assert [row["path"] for row in rows_of(made.location, layout.FEATURIZED)] in (output.good, left)
        do(made, sha256=hashes)
        assert_right(made, gone)
    assert last_step > 15


NEXT: Final[dict[str, Callable[[Output, list[str]], object]]] = {
    "the same erasure": lambda made, gone: do(made, paths=gone),
    "another erasure": lambda made, _: do(made, paths=["/nowhere.jpg"]),
    "a compaction": lambda made, _: compact.run(made.location, LOG, keep_versions=24),
    "a run": lambda made, gone: outputs.run(made, gone=gone),
    "a run that keeps versions": lambda made, gone: outputs.run(made, "--keep-versions", "24", gone=gone),
}


@pytest.mark.parametrize("following", NEXT)
@pytest.mark.parametrize("step", [layout.MOMENTS, layout.PCA_CSV, layout.ERASURES])
def test_what_an_erasure_that_was_killed_after_its_commit_has_left_any_next_command_deletes(
    output: Output, monkeypatch: pytest.MonkeyPatch, step: str, following: str
) -> None:
    gone = [output.good[20], output.bad[0]]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill(patch, lambda place: place.startswith(f"{output.location}/{step}/"))
        do(output, paths=gone)
    assert traces_of(output, gone)
    NEXT[following](output, gone)
    assert traces_of(output, gone) == []
    outputs.run(output, gone=gone)
    assert_right(output, gone)


def test_an_erasure_that_cannot_write_says_so_and_the_next_need_not_wait(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(place: str, _: object) -> None:
        if "/moments/" in place:
            raise OSError(errno.ENOSPC, "No space left on device")

    gone = [output.good[20]]
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        before_each_step(patch, fail)
        do(output, paths=gone)
    assert traces_of(output, gone) == [], "what has left the table is deleted all the same"
    snapshot = tables.snapshot(output.location)
    assert snapshot.writer == snapshot.ended
    do(output, paths=gone)
    assert_right(output, gone)


@pytest.mark.parametrize(
    ("step", "mine_is_gone"),
    [
        (layout.MISSING, False),
        (f"{layout.PHOTOS}/outcome", False),
        (layout.MOMENTS, True),
        (layout.PCA, True),
    ],
)
def test_an_erasure_that_wakes_after_another_has_taken_over_does_nothing_more(
    output: Output, monkeypatch: pytest.MonkeyPatch, step: str, mine_is_gone: bool
) -> None:
    mine, others = [output.good[40], *output.missing], [output.good[42], *output.changed, output.bad[0]]
    outputs.run(output, gone=others[:1])  # the list of missing photos names it, too
    with monkeypatch.context() as patch, pytest.raises(OvertakenError):
        other = partial(do, output, paths=others, erasure_id="erasure-2")
        overtake(patch, lambda place: place.startswith(f"{output.location}/{step}"), other)
        do(output, paths=mine)
    assert traces_of(output, others) == []
    assert not Path(output.location, layout.ERASURES, "erasure-1.json").exists()
    gone = [*others, *mine] if mine_is_gone else others
    left = [row["path"] for row in rows_of(output.location, layout.FEATURIZED)]
    assert left == [path for path in output.good if path not in gone]
    outputs.run(output, gone=gone)
    assert_derived(output.location)


@pytest.mark.parametrize("folder", [layout.MISSING, layout.PCA, layout.PCA_CSV])
def test_a_run_that_wakes_after_an_erasure_has_taken_over_leaves_no_trace_of_what_that_has_erased(
    output: Output, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    file = min(tables.snapshot(output.location).files_of(layout.FEATURIZED)).path
    gone = files.read(files.location(output.location, file))["path"].to_pylist()[:1]
    with monkeypatch.context() as patch, pytest.raises(OvertakenError):
        other = partial(do, output, paths=gone)
        overtake(patch, lambda place: place.startswith(f"{output.location}/{folder}/"), other)
        outputs.run(output, "--components", "5", "--refit", "auto", gone=gone)
    assert traces_of(output, gone) == []
    outputs.run(output, "--refit", "always", gone=gone)
    assert_right(output, gone)


def test_a_command_that_wakes_leaves_alone_what_the_one_that_took_over_is_making(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = min(tables.snapshot(output.location).files_of(layout.FEATURIZED)).path
    gone = files.read(files.location(output.location, file))["path"].to_pylist()[:1]
    asleep = writer.Writer(output.location, "asleep", "erase")
    asleep.begin(lambda _: [], print)
    removal.remove_photos(asleep, {file: gone})

    def wake() -> None:
        with pytest.raises(OvertakenError):
            asleep.end()

    with monkeypatch.context() as patch:
        overtake(patch, lambda place: place.endswith(layout.CURRENT_MODEL), wake)
        outputs.run(output, "--components", "5", "--refit", "auto", gone=gone)
    assert_derived(output.location)
