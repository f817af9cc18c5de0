"""A folder's files are listed in order of their paths, under any name and through links."""

import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from job.errors import UsageError
from job.inventory.folder_listing import folder_files
from tests.support.unprivileged import unprivileged


def names(folder: Path, without: str = "/nowhere") -> list[str]:
    """Return the paths listed, relative to the folder."""
    return [listed.path.removeprefix(f"{folder}/") for listed in folder_files(str(folder), without, set())]


def make(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(file.encode())


def test_a_file_is_listed_with_its_size_and_time(tmp_path: Path) -> None:
    make(tmp_path, "x.jpg")
    os.utime(tmp_path / "x.jpg", (0, 1_000_000_000))
    [before] = folder_files(str(tmp_path), "/nowhere", set())
    assert (before.path, before.bytes, before.skip_kind) == (str(tmp_path / "x.jpg"), 5, "")
    assert before.modified == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    (tmp_path / "x.jpg").write_bytes(b"other")
    [after] = folder_files(str(tmp_path), "/nowhere", set())
    assert after.etag != before.etag


def test_an_empty_file_and_an_impossible_time_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.jpg").touch()

    class Never(datetime):
        @classmethod
        def fromtimestamp(cls, *_: Any) -> "Never":
            raise ValueError("year 33658 is out of range")

    monkeypatch.setattr("job.inventory.folder_listing.datetime", Never)
    [listed] = folder_files(str(tmp_path), "/nowhere", set())
    assert (listed.bytes, listed.modified) == (0, None)


def test_files_deleted_during_the_listing_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.jpg", "c/x.jpg", "d.jpg")
    listing = folder_files(str(tmp_path), "/nowhere", set())
    assert next(listing).path.endswith("a.jpg")
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "c/x.jpg").unlink()
    (tmp_path / "c").rmdir()
    assert [listed.path for listed in listing] == [str(tmp_path / "d.jpg")]


def test_links_to_photos_and_folders_are_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/apple/1.jpg", "in/own.jpg")
    (tmp_path / "in/photo.jpg").symlink_to(tmp_path / "real/apple/1.jpg")
    (tmp_path / "in/pear").symlink_to(tmp_path / "real")
    listed = list(folder_files(str(tmp_path / "in"), "/nowhere", set()))
    assert [file.path.removeprefix(f"{tmp_path}/in/") for file in listed] == [
        "own.jpg",
        "pear/apple/1.jpg",
        "photo.jpg",
    ]
    assert listed[2].bytes == len("real/apple/1.jpg")


def test_circles_of_links_end_and_a_real_folder_is_listed_once(tmp_path: Path) -> None:
    make(tmp_path, "above.jpg", "in/a/1.jpg", "in/b/2.jpg", "out/3.jpg")
    (tmp_path / "in/a/self").symlink_to(tmp_path / "in/a")
    (tmp_path / "in/a/top").symlink_to(tmp_path / "in")
    (tmp_path / "in/a/up").symlink_to(tmp_path)
    (tmp_path / "in/b/again").symlink_to(tmp_path / "in/a")
    (tmp_path / "in/b/out").symlink_to(tmp_path / "out")
    (tmp_path / "out/back").symlink_to(tmp_path / "in/b")
    assert names(tmp_path / "in") == ["a/1.jpg", "b/2.jpg", "b/out/3.jpg"]


def test_folders_deeper_than_the_recursion_limit_are_listed(tmp_path: Path) -> None:
    levels = [f"{tmp_path}{'/d' * depth}" for depth in range(1, 1201)]
    for level in levels:
        Path(level).mkdir()
    Path(levels[-1], "x.jpg").touch()
    try:
        assert names(tmp_path) == ["d/" * 1200 + "x.jpg"]
    finally:  # pytest's own clean-up would recurse
        Path(levels[-1], "x.jpg").unlink()
        for level in reversed(levels):
            Path(level).rmdir()


def test_the_output_is_left_out_under_any_path(tmp_path: Path) -> None:
    make(tmp_path, "in/1.jpg", "in/out/2.jpg", "in/out/sub/3.jpg", "in/out2/4.jpg", "in/zout.jpg")
    (tmp_path / "in/link").symlink_to(tmp_path / "in/out")
    (tmp_path / "in/link2").symlink_to(tmp_path / "in/out/sub")
    (tmp_path / "alias").symlink_to(tmp_path / "in")
    expected = ["1.jpg", "out2/4.jpg", "zout.jpg"]
    assert names(tmp_path / "in", f"{tmp_path}/in/out") == expected
    assert names(tmp_path / "alias", f"{tmp_path}/in/out") == expected
    assert names(tmp_path / "in", f"{tmp_path}/alias/out") == expected
    assert names(tmp_path / "in", "s3://bucket/out") == ["1.jpg", "out/2.jpg", "out/sub/3.jpg", *expected[1:]]


@pytest.mark.parametrize("source", ["out", "out/sub", "link"])
def test_an_input_in_the_output_is_refused(tmp_path: Path, source: str) -> None:
    make(tmp_path, "out/sub/1.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(UsageError, match="is in the output"):
        names(tmp_path / source, f"{tmp_path}/out")


def test_a_missing_folder_and_a_file_are_usage_errors(tmp_path: Path) -> None:
    make(tmp_path, "photo.jpg")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    for missing in ("none", "none/deeper", "dangling"):
        with pytest.raises(UsageError, match="does not exist: check the path"):
            names(tmp_path / missing)
    for file in ("photo.jpg", "photo.jpg/deeper"):
        with pytest.raises(UsageError, match="is a file: name the folder it is in"):
            names(tmp_path / file)


@pytest.mark.parametrize("mode", [0o000, 0o444])  # the second may be listed but not entered
def test_a_folder_that_may_not_be_read_is_a_usage_error(tmp_path: Path, mode: int) -> None:
    shut = tmp_path / "in/shut"
    make(tmp_path, "in/a.jpg", "in/shut/b.jpg", "beside/a.jpg")
    (tmp_path / "beside/link").symlink_to(shut / "deeper")
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent, tmp_path / "in"):
        parent.chmod(0o755)
    shut.chmod(mode)
    try:
        with unprivileged():
            for source in (tmp_path / "in", shut):
                with pytest.raises(UsageError, match=r"shut may not be read: check its permissions$"):
                    names(source)
            with pytest.raises(UsageError, match=r"link may not be read: check its permissions$"):
                names(tmp_path / "beside")
    finally:
        shut.chmod(0o755)


def test_other_errors_of_the_disk_are_raised_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str) -> Any:
        raise OSError(errno.EIO, "input/output error", path)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(OSError, match="input/output error"):
        names(tmp_path)
