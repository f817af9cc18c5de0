"""A folder's files in order of their paths, whatever they are called and wherever links lead."""

import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from job.errors import UsageError
from job.walk import Listed, walk
from tests.unprivileged import unprivileged


def names(folder: Path, without: str = "/nowhere") -> list[str]:
    """Return the paths listed, relative to the folder."""
    return [listed.path.removeprefix(f"{folder}/") for listed in walk(str(folder), without, set())]


def make(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(file.encode())


def test_files_come_in_order_of_their_full_paths(tmp_path: Path) -> None:
    files = [
        "b/x.jpg",
        "b.jpg",
        "b-1/x.jpg",
        "b0.jpg",
        "a/z/x.jpg",
        "a/b.jpg",
        "é.jpg",
        "Z.jpg",
        "🍎.jpg",
        "b /x",
    ]
    make(tmp_path, *files)
    assert names(tmp_path) == sorted(files)
    assert names(Path(f"{tmp_path}/")) == sorted(files)


def test_a_file_is_listed_with_its_size_and_time(tmp_path: Path) -> None:
    make(tmp_path, "x.jpg")
    os.utime(tmp_path / "x.jpg", (0, 1_000_000_000))
    [before] = walk(str(tmp_path), "/nowhere", set())
    assert (before.path, before.bytes, before.regular) == (str(tmp_path / "x.jpg"), 5, True)
    assert before.modified == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    (tmp_path / "x.jpg").write_bytes(b"other")
    [after] = walk(str(tmp_path), "/nowhere", set())
    assert after.etag != before.etag


def test_an_empty_file_and_an_impossible_time_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.jpg").touch()

    class Never(datetime):
        @classmethod
        def fromtimestamp(cls, *_: Any) -> "Never":
            raise ValueError("year 33658 is out of range")

    monkeypatch.setattr("job.walk.datetime", Never)
    [listed] = walk(str(tmp_path), "/nowhere", set())
    assert (listed.bytes, listed.modified) == (0, None)


def test_what_is_deleted_while_listing_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.jpg", "c/x.jpg", "d.jpg")
    listing = walk(str(tmp_path), "/nowhere", set())
    assert next(listing).path.endswith("a.jpg")
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "c/x.jpg").unlink()
    (tmp_path / "c").rmdir()
    assert [listed.path for listed in listing] == [str(tmp_path / "d.jpg")]


def test_links_to_photos_and_folders_are_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/apple/1.jpg", "in/own.jpg")
    (tmp_path / "in/photo.jpg").symlink_to(tmp_path / "real/apple/1.jpg")
    (tmp_path / "in/pear").symlink_to(tmp_path / "real")
    listed = list(walk(str(tmp_path / "in"), "/nowhere", set()))
    assert [one.path.removeprefix(f"{tmp_path}/in/") for one in listed] == [
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


def test_links_that_lead_nowhere_are_listed_as_files(tmp_path: Path) -> None:
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "none.jpg")
    (tmp_path / "itself.jpg").symlink_to(tmp_path / "itself.jpg")
    listed = list(walk(str(tmp_path), "/nowhere", set()))
    assert [Path(one.path).name for one in listed] == ["dangling.jpg", "itself.jpg"]
    assert all(one.regular for one in listed)


def test_a_pipe_is_listed_as_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    [listed] = walk(str(tmp_path), "/nowhere", set())
    assert not listed.regular


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


def test_what_is_left_out_is_left_out_by_any_path(tmp_path: Path) -> None:
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


def test_a_folder_that_was_seen_is_not_listed_again(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg", "b/2.jpg")
    seen = {str(tmp_path / "a")}
    assert [one.path for one in walk(str(tmp_path), "/nowhere", seen)] == [str(tmp_path / "b/2.jpg")]
    assert list(walk(str(tmp_path / "b"), "/nowhere", seen)) == []


def test_a_missing_folder_and_a_file_are_usage_errors(tmp_path: Path) -> None:
    make(tmp_path, "photo.jpg")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    for missing in ("none", "none/deeper", "dangling"):
        with pytest.raises(UsageError, match="does not exist: check the path"):
            names(tmp_path / missing)
    for file in ("photo.jpg", "photo.jpg/deeper"):
        with pytest.raises(UsageError, match="is a file: name the folder it is in"):
            names(tmp_path / file)


@pytest.mark.parametrize("mode", [0o000, 0o444])  # the second may be listed and not entered
def test_a_folder_that_may_not_be_read_is_a_usage_error(tmp_path: Path, mode: int) -> None:
    shut = tmp_path / "in/shut"
    make(tmp_path / "in", "a.jpg", "shut/b.jpg")
    for above in (tmp_path, tmp_path.parent, tmp_path.parent.parent, tmp_path / "in"):
        above.chmod(0o755)
    shut.chmod(mode)
    try:
        with unprivileged():
            for source in (tmp_path / "in", shut):
                with pytest.raises(UsageError, match=r"shut may not be read: check its permissions$"):
                    names(source)
    finally:
        shut.chmod(0o755)


def test_a_link_to_where_nobody_may_look_is_a_usage_error(tmp_path: Path) -> None:
    class Link:
        name = "link"

        def is_dir(self) -> bool:
            raise PermissionError(errno.EACCES, "denied", f"{tmp_path}/link")

    class Found:
        def __enter__(self) -> list[Link]:
            return [Link()]

        def __exit__(self, *_: object) -> None:
            pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", lambda _: Found())
        with pytest.raises(UsageError, match=r"link may not be read: check its permissions$"):
            names(tmp_path)


def test_a_folder_that_may_be_read_and_not_entered_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a.jpg")

    def refuse(path: str, **_: Any) -> Any:
        raise PermissionError(errno.EACCES, "denied", path)

    listing = walk(str(tmp_path), "/nowhere", set())
    monkeypatch.setattr("job.walk.os.stat", refuse)
    monkeypatch.setattr("job.walk.os.lstat", refuse)
    with pytest.raises(UsageError, match="may not be read"):
        next(listing)


def test_other_faults_of_the_disk_are_loud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> Any:
        raise OSError(errno.EIO, "input/output error", path)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(OSError, match="input/output error"):
        names(tmp_path)


def test_names_that_are_not_utf_8_are_listed(tmp_path: Path) -> None:
    odd = [b"\xff.jpg", b"caf\xe9.jpg"]
    for name in odd:
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    assert sorted(os.fsencode(name) for name in names(tmp_path)) == sorted(odd)


def test_a_listed_file_is_a_tuple_in_the_order_of_the_inventory() -> None:
    assert Listed._fields[:4] == ("path", "bytes", "etag", "modified")
