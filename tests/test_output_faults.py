"""The output when something fails: what cannot be written, runs at once, and records that break off."""

import errno
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from job import store
from job.errors import JobError, UsageError
from job.output import claim, commit, opened
from tests.test_output import PEARS, refusal


def test_an_output_that_cannot_be_written_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "claimed/_input.json").mkdir(parents=True)
    (tmp_path / "loop").symlink_to("loop")
    for location, reason in {
        "/proc/nope": "no such file or directory",
        tmp_path / "file": "not a directory",
        tmp_path / "file/deep/er": "not a directory",
        tmp_path / "claimed": "is a directory",
        tmp_path / ("x" * 300): "file name too long",
        tmp_path / "loop/deep": "too many levels of symbolic links",
    }.items():
        assert f"cannot be written ({reason}): choose another --output" in refusal(location, PEARS)
    assert "cannot be written" in refusal(tmp_path / "loop", PEARS)
    assert (tmp_path / "file").read_text() == "mine"


def ignored(_: str) -> None:
    """Hear nothing of locks."""


def test_an_output_is_opened_by_one_command_and_not_at_all_where_nothing_can_be_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(UsageError, match=r"cannot be written \(not a directory\): choose another --output"),
        opened(f"{tmp_path}/file", "night-1", "run", ignored),
    ):
        pytest.fail("opened")
    with (
        opened(f"{tmp_path}/out", "night-1", "run", ignored) as held,
        pytest.raises(JobError, match="is being written by run night-1"),
        opened(f"{tmp_path}/out", "night-2", "run", ignored),
    ):
        pytest.fail("opened twice")
    assert held.run_id == "night-1"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ours", [True, False])
def test_opening_an_output_clears_what_a_killed_run_kept_aside_but_only_if_it_is_ours(
    tmp_path: Path, ours: bool
) -> None:
    if ours:
        claim(str(tmp_path), PEARS, overwrite=False)
    kept = tmp_path / "_replaced/night-1/part-000000-night-0.parquet"
    kept.parent.mkdir(parents=True)
    kept.touch()
    with opened(str(tmp_path), "night-2", "run", ignored):
        assert kept.exists() is not ours


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC])
def test_an_output_that_is_ours_but_cannot_be_written_any_more_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    claim(str(tmp_path), PEARS, overwrite=False)

    def fails(*_: object, **__: object) -> None:  # as for anybody but root, who runs this test
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(store, "write_bytes", fails)
    if code == errno.ENOSPC:  # another output would not mend that
        with pytest.raises(JobError, match="cannot be written: No space left on device") as caught:
            claim(str(tmp_path), PEARS, overwrite=False)
        assert caught.value.exit_code == 1
    else:
        assert f"cannot be written ({os.strerror(code).lower()})" in refusal(tmp_path, PEARS)


def test_of_claims_at_once_one_wins(tmp_path: Path) -> None:
    runs = 16
    for round_number in range(5):
        location = f"{tmp_path}/{round_number}"
        together = threading.Barrier(runs)

        def attempt(
            number: int, location: str = location, together: threading.Barrier = together
        ) -> int | None:
            together.wait()
            try:
                claim(location, {"inputs": [number]}, overwrite=False)
            except UsageError as error:
                assert "holds the tables of another input" in str(error)
                return None
            return number

        with ThreadPoolExecutor(runs) as pool:
            winners = [number for number in pool.map(attempt, range(runs)) if number is not None]
        assert len(winners) == 1
        assert json.loads(Path(location, "_input.json").read_bytes()) == {"inputs": winners}
        assert os.listdir(location) == ["_input.json"]  # noqa: PTH208


def test_a_commit_that_breaks_off_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = Path(commit(str(tmp_path), "night-1", {"status": "completed", "n": 1}))

    def breaks(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", breaks)
    with pytest.raises(OSError, match="No space"):
        commit(str(tmp_path), "night-1", {"status": "completed", "n": 2})
    assert json.loads(where.read_bytes())["n"] == 1
    assert os.listdir(where.parent) == [where.name]  # noqa: PTH208
