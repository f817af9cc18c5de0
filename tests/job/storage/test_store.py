"""The store: the same functions read, write, list and delete files in folders and in S3."""

import errno
import itertools
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from job.storage import s3, store
from tests.support.s3_servers import Moto


@pytest.fixture(params=["folder", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an empty location, in a folder or in S3."""
    if request.param == "folder":
        return str(tmp_path / "out")
    return f"s3://{request.getfixturevalue('bucket')}/out"


def no_link(*_: object) -> None:
    """Fail as a file system without hard links does."""
    raise OSError(errno.EOPNOTSUPP, "no hard links here")


def test_written_bytes_are_read_back(location: str) -> None:
    file = store.join(location, "deep", "file.bin")
    assert store.write_bytes(file, b"one")
    assert store.write_bytes(file, b"two")
    assert store.read_bytes(file) == b"two"
    with store.open_input(file) as source:
        source.seek(1)
        assert source.read() == b"wo"


def test_a_missing_file_is_not_found_and_an_empty_location_lists_nothing(location: str) -> None:
    with pytest.raises(FileNotFoundError):
        store.read_bytes(store.join(location, "none"))
    with pytest.raises(FileNotFoundError):
        store.open_input(store.join(location, "none"))
    assert list(store.list_files(location)) == []
    store.delete_tree(location)


def test_only_if_new_keeps_an_existing_file(location: str) -> None:
    file = store.join(location, "claim")
    assert store.write_bytes(file, b"first", only_if_new=True)
    assert not store.write_bytes(file, b"second", only_if_new=True)
    assert store.read_bytes(file) == b"first"
    assert [name for name, _ in store.list_files(location)] == [file]


def test_only_if_new_works_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_link)
    file = str(tmp_path / "claim")
    assert store.write_bytes(file, b"first", only_if_new=True)
    assert not store.write_bytes(file, b"second", only_if_new=True)
    assert store.read_bytes(file) == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["claim"]


@pytest.mark.parametrize(("only_if_new", "failing"), [(False, 1), (True, 1), (True, 2)])
def test_a_failed_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only_if_new: bool, failing: int
) -> None:
    file, calls = tmp_path / "record.json", itertools.count(1)
    if not only_if_new:
        file.write_bytes(b"whole")

    def fail(_: int) -> None:
        if next(calls) == failing:  # without hard links, the second syncs the file itself
            raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        store.write_bytes(str(file), b"a new one", only_if_new)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == (
        [] if only_if_new else [("record.json", b"whole")]
    )


@pytest.mark.parametrize("only_if_new", [False, True])
def test_a_file_gets_its_name_after_its_content_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only_if_new: bool
) -> None:
    steps, fsync = list[str](), os.fsync

    def record_sync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").resolve()
        steps.append("folder" if path == tmp_path else f"{path.suffix} {path.read_text()}")
        fsync(handle)

    def record_calls(name: str) -> None:
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *arguments: (steps.append("named"), call(*arguments))[1])  # type: ignore[func-returns-value]

    monkeypatch.setattr(os, "fsync", record_sync)
    record_calls("link")
    record_calls("replace")
    store.write_bytes(str(tmp_path / "record.json"), b"whole", only_if_new)
    assert steps == [f"{store.DRAFT} whole", "named", "folder"]


def test_a_folder_removed_as_empty_during_a_write_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir, file = Path.mkdir, tmp_path / "table/part/file"

    def mkdir_and_lose(path: Path, *arguments: Any, **options: Any) -> None:
        mkdir(path, *arguments, **options)
        if path == file.parent:
            monkeypatch.undo()
            store.remove_empty_folders([str(path)], str(tmp_path))  # as another command does at its end
            assert not list(tmp_path.iterdir())

    monkeypatch.setattr(Path, "mkdir", mkdir_and_lose)
    assert store.write_bytes(str(file), b"x")
    assert file.read_bytes() == b"x"


def test_a_reader_sees_a_file_whole(tmp_path: Path) -> None:
    file = str(tmp_path / "file")
    contents = {bytes([number]) * 2**20 for number in range(2)}
    store.write_bytes(file, next(iter(contents)))
    is_written = threading.Event()

    def write() -> None:
        for data in sorted(contents) * 20:
            store.write_bytes(file, data)
        is_written.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not is_written.is_set():
        assert store.read_bytes(file) in contents
        assert all(size == 2**20 for _, size in store.list_files(str(tmp_path)))
    writer.join()


def test_a_listing_is_sorted_with_sizes_and_without_hidden_files(location: str) -> None:
    folder = store.join(location, "_run", ".hidden")  # hidden names above the listed folder do not matter
    for name in ("b/part-1.parquet", "a.parquet", "b.parquet", "c.csv"):
        store.write_bytes(store.join(folder, name), name.encode())
    for name in ("_SUCCESS", "b/_temporary/0/part.parquet", ".part.parquet.crc", "b/.x/part.parquet"):
        store.write_bytes(store.join(folder, name), b"not data")
    store.write_bytes(store.join(location, "_run", ".hidden2", "other.parquet"), b"a neighbour's")
    assert [(name.removeprefix(folder + "/"), size) for name, size in store.list_files(folder)] == [
        ("a.parquet", 9),
        ("b.parquet", 9),
        ("b/part-1.parquet", 16),
        ("c.csv", 5),
    ]
    parquet_files = [store.join(folder, name) for name in ("a.parquet", "b.parquet", "b/part-1.parquet")]
    assert [name for name, _ in store.list_files(folder, ".parquet")] == parquet_files
    assert [name for name, _ in store.list_files(folder + "/", ".parquet")] == parquet_files


def test_a_listing_begins_after_a_name_and_requests_no_earlier_keys(location: str, moto: Moto) -> None:
    for name in ("a", "b", "b/c", "b0", "é"):
        store.write_bytes(store.join(location, f"{name}.json"), b"")
    before = len(moto.requests())
    for after, names in {
        "b": ["b.json", "b/c.json", "b0.json", "é.json"],
        "b.json": ["b/c.json", "b0.json", "é.json"],
        "ê": [],
    }.items():
        assert list(store.list_files(location, after=after)) == [
            (store.join(location, name), 0) for name in names
        ]
    listings = [request for request in moto.requests()[before:] if "list-type" in request]
    assert all("start-after=" in request for request in listings)
    assert len(listings) == (3 if store.is_s3(location) else 0)


def test_only_unfinished_writes_are_listed_as_drafts(location: str, tmp_path: Path) -> None:
    draft = store.join(location, "a", "b", f".0123{store.DRAFT}")
    for file in (
        draft,
        *(store.join(location, name) for name in ("x.draft", ".hidden", f"a/.0{store.DRAFT}.json")),
    ):
        store.write_bytes(file, b"x")
    assert list(store.list_drafts(location)) == ([] if store.is_s3(location) else [draft])
    assert list(store.list_drafts(str(tmp_path / "none"))) == []
    beside = store.join(location, "a", f".0{store.DRAFT}")
    store.write_bytes(beside, b"x")
    shallow = list(store.list_drafts(store.join(location, "a"), is_deep=False))
    assert shallow == ([] if store.is_s3(location) else [beside])


def test_a_file_is_told_from_a_folder_and_from_nothing(location: str) -> None:
    store.write_bytes(store.join(location, "a", "b.html"), b"")
    store.write_bytes(store.join(location, "a", "b.htm", "x"), b"x")
    names = {
        "a/b.html": True,
        "a/b.htm/x": True,
        "a/b.htm": False,
        "a": False,
        "a/b": False,
        "a/b.html/x": False,
    }
    assert {name: store.is_file(store.join(location, *name.split("/"))) for name in names} == names


def test_empty_folders_are_removed_up_to_the_given_one(tmp_path: Path) -> None:
    for name in ("out/a/b/c", "out/a/full", "out/x", "beside/y"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "out/a/full/file").touch()
    folders = [
        tmp_path / name for name in ("out/a/b/c", "out/a/full", "out/x", "out", "beside/y", "out/none")
    ]
    store.remove_empty_folders(map(str, folders), str(tmp_path / "out"))
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {
        *("out", "out/a", "out/a/full", "out/a/full/file", "beside", "beside/y")
    }


def test_a_folder_without_list_permission_is_an_error_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(path: str) -> Any:
        raise PermissionError(errno.EACCES, "denied", path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError):
        list(store.list_files(str(tmp_path)))


def test_a_folder_marker_in_s3_is_no_file(bucket: str) -> None:
    s3.client(bucket).put_object(Bucket=bucket, Key="out/sub/")
    store.write_bytes(f"s3://{bucket}/out/sub/file", b"")
    assert list(store.list_files(f"s3://{bucket}/out")) == [(f"s3://{bucket}/out/sub/file", 0)]


def test_deleting_a_folder_or_a_file_changes_nothing_else(location: str) -> None:
    inside = [store.join(location, "features", name) for name in ("part-0", "_temporary/x", "deep/er/part-1")]
    names = ("features2/part-0", "features.json", "feature", "x/features")
    outside = [store.join(location, name) for name in names]
    for file in inside + outside:
        store.write_bytes(file, b"x")
    store.delete_tree(store.join(location, "features"))
    store.delete_tree(outside.pop())
    assert sorted(name for name, _ in store.list_files(location)) == sorted(outside)


def test_deleting_a_link_keeps_its_target(tmp_path: Path) -> None:
    kept = tmp_path / "elsewhere" / "photo.jpg"
    kept.parent.mkdir()
    kept.write_bytes(b"x")
    (tmp_path / "features").symlink_to(kept.parent)
    store.delete_tree(str(tmp_path / "features"))
    assert kept.read_bytes() == b"x"
    assert not (tmp_path / "features").is_symlink()
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "link").symlink_to(kept.parent)
    store.delete_tree(str(tmp_path / "table"))
    assert kept.read_bytes() == b"x"
    assert not (tmp_path / "table").exists()


def test_a_whole_bucket_is_never_deleted(bucket: str) -> None:
    store.write_bytes(f"s3://{bucket}/x", b"x")
    with pytest.raises(AssertionError):
        store.delete_tree(f"s3://{bucket}/")
    assert store.read_bytes(f"s3://{bucket}/x") == b"x"


def test_locations_are_joined_with_one_slash() -> None:
    assert store.join("/", "a") == "/a"
    assert store.join("/a/", "b", "c") == "/a/b/c"
    assert store.join("s3://b", "c") == "s3://b/c"


def test_printable_paths_are_unchanged_and_others_are_escaped() -> None:
    for path in ("/a/é.jpg", "/a/\\udcff.jpg", "/a/100%FF.jpg", "s3://b/🍎\n.jpg"):
        assert store.printable(path) == path
        assert not store.was_unprintable(path)
    odd = [os.fsdecode(name) for name in (b"/a/\xff.jpg", b"/a/\xfe.jpg", b"/a/%FF\xff.jpg", b"/a/\xc3.jpg")]
    printed = [store.printable(path) for path in odd]
    assert len(set(printed)) == len(odd)
    assert printed[0] == "file:///a/%FF.jpg"
    for path in printed:
        path.encode()
        assert store.was_unprintable(path)
