"""The files of a manifest: S3 Inventories in both formats, and missing or damaged files."""

import errno
import gzip
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from job.errors import DataError, JobError, UsageError
from job.inventory import manifest
from job.inventory.folder_listing import ListedFile
from job.storage import store
from tests.support.listings import NOON

SCHEMA: Final = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass"
# The rows that S3 writes for a bucket with versions.
ROWS: Final = [
    ("photos/b+c%C3%A9%2B%2520.jpg", "v1", "true", "false", "7", "2026-11-21T12:00:00.000Z", "e1"),
    ("photos/a.jpg", "v2", "true", "false", "8", "2026-11-21T12:00:00.000Z", "e2"),
    ("photos/a.jpg", "v1", "false", "false", "9", "2026-11-22T12:00:00.000Z", "e3"),
    ("photos/gone.jpg", "v2", "true", "true", "", "2026-11-21T12:00:00.000Z", ""),
    ("photos/", "v1", "true", "false", "0", "2026-11-21T12:00:00.000Z", "e4"),
]
LATEST: Final = [
    ListedFile("s3://fruits/photos/a.jpg", 8, "e2", NOON),
    ListedFile("s3://fruits/photos/b cé+%20.jpg", 7, "e1", NOON),
]


def read(location: object, *inputs: str) -> list[ListedFile]:
    return list(manifest.read(str(location), inputs))


def refusal(location: object, kind: type[JobError]) -> str:
    with pytest.raises(JobError) as caught:
        read(location)
    assert caught.type is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def csv_file(rows: Sequence[tuple[str, ...]] = ROWS) -> bytes:
    """Return an inventory's CSV file: every value is quoted, and there is no header."""
    lines = (",".join(f'"{value}"' for value in ("fruits", *row, "STANDARD")) + "\n" for row in rows)
    return gzip.compress("".join(lines).encode())


def parquet_file() -> bytes:
    """Return the same rows in Parquet, where keys are not encoded."""
    booleans = {"true": True, "false": False}
    table = pa.table(
        {
            "bucket": ["fruits"] * len(ROWS),
            "key": [row[0].replace(ROWS[0][0], "photos/b cé+%20.jpg") for row in ROWS],
            "version_id": [row[1] for row in ROWS],
            "is_latest": [booleans[row[2]] for row in ROWS],
            "is_delete_marker": [booleans[row[3]] for row in ROWS],
            "size": [int(row[4]) if row[4] else None for row in ROWS],
            "last_modified_date": pa.array([NOON] * len(ROWS), pa.timestamp("ms", "UTC")),
            "e_tag": [row[6] or None for row in ROWS],
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="snappy")
    return sink.getvalue()


def manifest_json(file_format: str, files: dict[str, bytes], schema: str = SCHEMA) -> dict[str, Any]:
    """Return the content of the ``manifest.json`` of an inventory."""
    return {
        "sourceBucket": "fruits",
        "destinationBucket": "arn:aws:s3:::lists",
        "version": "2016-11-30",
        "creationTimestamp": "1795262400000",
        "fileFormat": file_format,
        "fileSchema": schema
        if file_format == "CSV"
        else "message s3.inventory { required binary bucket (UTF8); }",
        "files": [
            {"key": name, "size": len(data), "MD5checksum": hashlib.md5(data).hexdigest()}
            for name, data in files.items()
        ],
    }


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return the objects of the bucket ``lists`` by their keys; a test adds some."""
    objects: dict[str, bytes] = {}
    open_file = store.open_input

    def open_input(location: str) -> BinaryIO:
        if not store.is_s3(location):
            return open_file(location)
        if (key := location.removeprefix("s3://lists/")) in objects:
            return io.BufferedReader(io.BytesIO(objects[key]))
        raise FileNotFoundError(errno.ENOENT, "No such file", location)

    monkeypatch.setattr(store, "open_input", open_input)
    return objects


def inventory(folder: Path, lists: dict[str, bytes], file_format: str, **files: bytes) -> str:
    """Write an inventory as S3 does, with ``manifest.json`` in a folder; return the location of that."""
    lists.update(files)
    (folder / "manifest.json").write_text(json.dumps(manifest_json(file_format, files)))
    return str(folder / "manifest.json")


def test_an_inventory_in_csv_gives_the_latest_objects_under_decoded_names(
    tmp_path: Path, lists: dict[str, bytes]
) -> None:
    first, second = csv_file(ROWS[:1]), csv_file(ROWS[1:])
    location = inventory(tmp_path, lists, "CSV", first=first, second=second)
    assert read(location) == LATEST
    assert read(location, "s3://fruits/other") == []
    # In several members, as gzip allows.
    assert read(inventory(tmp_path, lists, "CSV", both=first + second)) == LATEST


def test_an_inventory_in_parquet_gives_the_same_photos(tmp_path: Path, lists: dict[str, bytes]) -> None:
    assert read(inventory(tmp_path, lists, "Parquet", data=parquet_file())) == LATEST


def test_an_inventory_is_read_from_s3(bucket: str) -> None:
    data = csv_file()
    content = manifest_json("CSV", {"x/data/1.csv.gz": data}) | {
        "destinationBucket": f"arn:aws:s3:::{bucket}"
    }
    store.write_bytes(f"s3://{bucket}/x/data/1.csv.gz", data)
    store.write_bytes(f"s3://{bucket}/x/2026/manifest.json", json.dumps(content).encode())
    admitted: list[str] = []
    photos = manifest.read(f"s3://{bucket}/x/2026/manifest.json", (), admitted.append)
    assert list(photos) == LATEST
    assert admitted == [f"s3://{bucket}", "s3://fruits"]


def test_the_bucket_of_an_inventorys_files_is_checked_before_they_are_read(
    tmp_path: Path, lists: dict[str, bytes]
) -> None:
    def refuse(location: str) -> None:
        raise JobError(location)

    location = inventory(tmp_path, lists, "CSV", data=csv_file())
    lists.clear()
    with pytest.raises(JobError, match=r"^s3://lists$"):
        list(manifest.read(location, (), refuse))


def test_an_inventory_of_an_empty_bucket_is_empty(tmp_path: Path, lists: dict[str, bytes]) -> None:
    assert read(inventory(tmp_path, lists, "CSV")) == []
    assert read(inventory(tmp_path, lists, "CSV", data=csv_file([]))) == []


def test_a_file_of_an_inventory_must_have_its_md5(tmp_path: Path, lists: dict[str, bytes]) -> None:
    location = inventory(tmp_path, lists, "CSV", data=csv_file())
    lists["data"] = csv_file(ROWS[:2])
    assert refusal(location, DataError) == (
        "s3://lists/data is not the file that its manifest.json means (another MD5): name a newer inventory"
    )


def test_an_inventory_in_orc_or_without_sizes_is_refused_with_advice(
    tmp_path: Path, lists: dict[str, bytes]
) -> None:
    location = inventory(tmp_path, lists, "ORC", data=b"")
    assert refusal(location, UsageError).endswith("of an S3 Inventory in ORC: set it to Parquet or CSV")
    lists["data"] = gzip.compress(b'"fruits","a"\n')
    (tmp_path / "manifest.json").write_text(
        json.dumps(manifest_json("CSV", {"data": lists["data"]}, "Bucket, Key"))
    )
    assert refusal(location, UsageError) == (
        "s3://lists/data has no column bytes or size: add it to the list"
    )


@pytest.mark.parametrize("content", ["", "[]", '{"fileFormat": 1}', '{"fileFormat": "CSV"}'])
def test_another_programs_manifest_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    assert "is not the manifest.json of an S3 Inventory" in refusal(tmp_path / "manifest.json", DataError)


def test_missing_files_and_folders_without_lists_are_refused(tmp_path: Path, lists: dict[str, bytes]) -> None:
    for name in ("x.csv", "x.parquet", "manifest.json", "x.csv/y.csv"):
        assert refusal(tmp_path / name, UsageError).endswith("does not exist: check --manifest")
    (tmp_path / "x.csv").mkdir()
    (tmp_path / "notes.txt").write_text("path,size")
    assert refusal(tmp_path / "notes.txt/x.csv", UsageError).endswith("does not exist: check --manifest")
    for name in ("", "x.csv", "notes.txt", "nothing"):
        assert "has none below it" in refusal(tmp_path / name, UsageError)
    location = inventory(tmp_path, lists, "CSV", data=csv_file())
    lists.clear()
    assert refusal(location, UsageError) == "manifest s3://lists/data does not exist: check --manifest"


def test_an_unreadable_list_is_a_usage_error_and_a_failing_store_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: str) -> BinaryIO:
        raise PermissionError(errno.EACCES, "it failed")

    class Torn(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 2**20:
                raise OSError(errno.EIO, "it failed")
            return super().read(size)

    monkeypatch.setattr(store, "open_input", refuse)
    assert refusal("/x.csv", UsageError) == "manifest /x.csv may not be read: check its permissions"
    monkeypatch.setattr(store, "open_input", lambda _: Torn(b"path,size\n" + b"/a,1\n" * 2**20))
    assert refusal("/x.csv", JobError) == "manifest /x.csv cannot be read: it failed"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.parquet", b""),
        ("x.parquet", parquet_file()[:-20]),
        ("x.csv.gz", gzip.compress(b"path,size\n" + b"/a,1\n" * 99_999)[:-400]),
        ("x.csv.gz", gzip.compress(b"path,size\n")[:12]),
        ("x.csv", b"path,size\n/a,1,1\n"),
        ("x.csv", b"path,size\n/\xff,1\n"),
        ("x.csv", b'path,size\n"/a,1\n'),
    ],
)
def test_a_damaged_file_is_named_in_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name, DataError).startswith(f"{tmp_path / name} ")
