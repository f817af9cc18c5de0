"""Manifests: each format gives the same photos in order, and errors name the row or column."""

import gzip
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from job.errors import DataError, JobError, UsageError
from job.inventory import database, manifest
from job.inventory.folder_listing import ListedFile
from job.storage import store
from job.table import schema
from tests.support.listings import NOON

PHOTOS: Final = [
    ListedFile("/photos/a,b.jpg", 1, "e1", NOON),
    ListedFile('/photos/say "x"\n.jpg', 2, "", NOON.replace(microsecond=250_000)),
    ListedFile("s3://fruits/a//b/../c+d%20 é.jpg", 3, "e3", None),
    ListedFile("s3://fruits/notes.txt", 0, "e4", datetime(1970, 1, 1, tzinfo=UTC)),
]


def read(location: object, *inputs: str) -> list[ListedFile]:
    return list(manifest.read(str(location), inputs))


def table(photos: list[ListedFile]) -> pa.Table:
    """Return photos as a table of the job's own schema."""
    rows = [photo._asdict() | {"label": "x", "split": None} for photo in photos]
    return pa.Table.from_pylist(rows, schema=schema.LISTED)


def text(photos: list[ListedFile]) -> bytes:
    head = "ETag,Size,LastModifiedDate,Path\n"
    rows = (
        f'"{etag}",{size},{modified.isoformat() if modified else ""},"{path.replace(chr(34), chr(34) * 2)}"\n'
        for path, size, etag, modified, _ in photos
    )
    return (head + "".join(rows)).encode()


def write(folder: Path, name: str, photos: list[ListedFile]) -> Path:
    folder.mkdir(exist_ok=True)
    if name.endswith(".parquet"):
        pq.write_table(table(photos), folder / name)
    else:
        (folder / name).write_bytes(gzip.compress(text(photos)) if name.endswith(".gz") else text(photos))
    return folder / name


def refusal(file: Path, kind: type[DataError] | type[UsageError]) -> str:
    """Return the message about a refused file, without its name."""
    with pytest.raises(kind) as caught:
        read(file)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(file))
    return message.removeprefix(str(file))


@pytest.mark.parametrize("name", ["list.parquet", "list.csv", "list.csv.gz", "LIST.CSV"])
def test_each_format_gives_the_photos_in_order_of_their_paths(tmp_path: Path, name: str) -> None:
    assert read(write(tmp_path, name, PHOTOS[::-1])) == PHOTOS


def test_all_lists_of_a_folder_are_read_and_other_files_are_ignored(tmp_path: Path) -> None:
    for number, name in enumerate(["z.parquet", "_SUCCESS", "a.csv", "deep.csv.gz", "b.snappy.parquet"]):
        write(tmp_path, name, PHOTOS[number % 2 :: 2])
    (tmp_path / "notes.md").write_text("no list")
    assert read(tmp_path) == PHOTOS


def test_lists_in_s3_are_read_like_local_ones(bucket: str, tmp_path: Path) -> None:
    for name in ("a.csv.gz", "b.parquet"):
        half = PHOTOS[:2] if name == "b.parquet" else PHOTOS[2:]
        store.write_bytes(f"s3://{bucket}/lists/{name}", write(tmp_path, name, half).read_bytes())
    assert read(f"s3://{bucket}/lists") == PHOTOS
    assert read(f"s3://{bucket}/lists/b.parquet") == PHOTOS[:2]


def test_long_unordered_lists_are_sorted_and_each_path_is_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "ROWS_PER_BATCH", 3)
    monkeypatch.setattr("job.inventory.manifest_files.READ_ROWS", 7)
    generator = random.Random(5)
    signs = ["a", "B", "/", "é", "\ud7ff", "\ue000", "\uffff", "🍎", " "]
    paths = ["s3://fruits/x" + "".join(generator.choices(signs, k=2)) for _ in range(400)]
    times = [NOON.replace(minute=generator.randrange(60)) for _ in paths]
    photos = [ListedFile(path, number, "", times[number]) for number, path in enumerate(paths)]
    for part in range(4):
        write(tmp_path, f"{part}.parquet", photos[part * 100 : part * 100 + 100])
    # The latest row of each path counts, and of equal times the last one listed.
    latest = {photo.path: photo for photo in sorted(photos, key=lambda photo: (photo.modified, photo.bytes))}
    assert len(latest) < 90
    assert read(tmp_path) == [latest[path] for path in sorted(latest)]


def test_names_that_are_not_utf_8_are_sorted_as_in_a_listing(tmp_path: Path) -> None:
    names = {"%ED%9F%BF": "\ud7ff", "%FF": "\udcff", "%EE%80%80": "\ue000", "%80": "\udc80", "z": "z"}
    (tmp_path / "list.csv").write_text("path,size\n" + "".join(f"file:///{name},1\n" for name in names))
    assert [photo.path for photo in read(tmp_path)] == sorted(f"/{name}" for name in names.values())


def test_the_row_modified_last_counts_and_no_time_is_the_oldest(tmp_path: Path) -> None:
    first, second = "2026-01-01T00:00Z", "2026-01-02T00:00Z"
    rows = [f"/a,1,{second}", f"/a,2,{first}", "/b,3,", f"/b,4,{first}", "/b,5,", "/c,6,"]
    (tmp_path / "list.csv").write_text("\n".join(["path,size,modified", *rows, "/c,7,"]))
    assert [photo.bytes for photo in read(tmp_path)] == [1, 4, 7]


def test_only_photos_below_an_input_are_kept(tmp_path: Path) -> None:
    paths = ["/p/a", "/pq/a", "/p", "s3://b-1/p/a", "s3://b-1/pq/a", "s3://b-1/p", "s3://b-2/p/a"]
    (tmp_path / "list.csv").write_text("path,size\n" + "".join(f"{path},1\n" for path in paths))
    assert [photo.path for photo in read(tmp_path, "/p")] == ["/p/a"]
    assert [photo.path for photo in read(tmp_path, "/p", "s3://b-1/p")] == ["/p/a", "s3://b-1/p/a"]
    assert len(read(tmp_path, "s3://b-1")) == 3
    assert len(read(tmp_path, "/")) == 3
    assert len(read(tmp_path)) == 7


def test_folder_markers_are_left_out(tmp_path: Path) -> None:
    rows = ["s3://fruits/a/,0", "s3://fruits/b/,1", "s3://fruits/c,0", "/d,0"]
    (tmp_path / "list.csv").write_text("path,size\n" + "\n".join(rows))
    assert [photo.path for photo in read(tmp_path)] == ["/d", "s3://fruits/b/", "s3://fruits/c"]


def test_names_with_line_breaks_are_read_from_a_csv_file_of_any_length(tmp_path: Path) -> None:
    breaks = "\n" * 80
    (tmp_path / "list.csv").write_text(
        "path,size\n" + "".join(f'"/{breaks}{number:06}.jpg",1\n' for number in range(30_000))
    )
    assert [photo.path[-10:-4] for photo in read(tmp_path)] == [f"{number:06}" for number in range(30_000)]


def test_a_list_without_rows_is_empty(tmp_path: Path) -> None:
    assert read(write(tmp_path, "list.csv", [])) == []
    assert read(write(tmp_path, "list.parquet", [])) == []


def test_each_bucket_is_checked_once_before_its_photos_are_yielded(tmp_path: Path) -> None:
    keys = ["s3://b-1/x", "s3://b-2/x", "s3://b-1/y", "/local/x", "s3://b-3/x"]
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("path,size\n" + "".join(f"{key},1\n" for key in keys))
    checked: list[str] = []
    photos = manifest.read(str(tmp_path), ("/local", "s3://b-1", "s3://b-2"), checked.append)
    assert next(photos).path == "/local/x"
    assert sorted(checked) == ["s3://b-1", "s3://b-2"]
    assert len(list(photos)) == 3
    assert len(checked) == 2


def test_a_list_in_a_refused_bucket_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(location: str) -> None:
        raise JobError(location)

    monkeypatch.setattr(store, "list_files", lambda _: pytest.fail("was listed"))
    with pytest.raises(JobError, match=r"^s3://far$"):
        next(manifest.read("s3://far/list.csv", (), refuse))


@pytest.mark.parametrize("head", ["Bucket,Key,Bytes", " BUCKET ,kEy,SIZE", '\ufeff"bucket","key","size"'])
def test_columns_are_found_by_their_names_in_any_case(tmp_path: Path, head: str) -> None:
    (tmp_path / "list.csv").write_text(f"{head}\nfruits,a b/c%20+.jpg,7\n")
    assert read(tmp_path / "list.csv") == [ListedFile("s3://fruits/a b/c%20+.jpg", 7, "", None)]


def test_columns_of_other_types_are_converted(tmp_path: Path) -> None:
    columns = {
        "path": pa.array(["/b", "/b", "/a"]).dictionary_encode(),
        "size": pa.array([1.0, 2.0, 3.0]),
        "e_tag": pa.array(['"x"', '"y"', None], pa.large_string()),
        "last_modified_date": pa.array([5_000_000_999, 6_000_000_999, None], pa.timestamp("ns")),
        "is_latest": pa.array([None, False, True]),
    }
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    second = datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert read(tmp_path / "list.parquet") == [
        ListedFile("/a", 3, "", None),
        ListedFile("/b", 1, "x", second),
    ]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("s3a://fruits/x.jpg", "s3://fruits/x.jpg"),
        ("S3://fruits//x/./y.jpg", "s3://fruits//x/./y.jpg"),
        ("file:///p/%C3%A9%20+.jpg", "/p/é +.jpg"),
        ("/p//q.jpg", "/p/q.jpg"),
        ("/p/./nowhere/../q.jpg/", "/p/q.jpg"),
        ("/p/%20.jpg", "/p/%20.jpg"),
        ("x/y.jpg", f"{Path.cwd()}/x/y.jpg"),
    ],
)
def test_paths_are_normalized_as_on_the_command_line_and_keys_are_not(
    tmp_path: Path, written: str, path: str
) -> None:
    (tmp_path / "list.csv").write_text(f"path,size\n/0.jpg,1\n{written},1\n")
    assert [photo.path for photo in read(tmp_path / "list.csv")] == ["/0.jpg", path]


@pytest.mark.parametrize(
    "written", ["2026-11-21 12:00:00", "2026-11-21T13:00:00+01:00", "2026-11-21T12:00:00.000000999Z"]
)
def test_times_are_read_in_all_of_iso_8601_and_are_utc_without_a_zone(tmp_path: Path, written: str) -> None:
    (tmp_path / "list.csv").write_text(f"path,size,modified\n/a,1,{written}\n/b,1,\n")
    photos = read(tmp_path / "list.csv")
    assert [photo.modified for photo in photos] == [NOON, None]
    assert photos[0].modified.tzinfo is UTC  # type: ignore[union-attr]


def test_a_time_beyond_pythons_range_is_none(tmp_path: Path) -> None:
    times = pa.array([300_000_000_000, 1], pa.timestamp("s"))
    pq.write_table(
        pa.table({"path": ["/a", "/b"], "size": [1, 1], "modified": times}), tmp_path / "x.parquet"
    )
    assert [photo.modified and photo.modified.year for photo in read(tmp_path)] == [None, 1970]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["/a,1", ",1"], ", row 2: its path is missing: mend the list"),
        (["/a,1", "/b,-1"], ", row 2: its size is missing or below 0: mend the list"),
        (["/a,1", "/b,1 kB"], ", row 2: bytes is '1 kB', not int64: mend the list"),
        (["s3://fruits,1"], ", row 1: 's3://fruits' is neither a path nor an object's s3://bucket/key"),
        (["s3://Fruits_1/a,1"], "'s3://Fruits_1/a' is neither a path nor an object's s3://bucket/key"),
        (["http://fruits/a,1"], "'http://fruits/a' is neither a path nor an object's s3://bucket/key"),
        (["/a,1,yesterday"], ", row 1: modified is 'yesterday', which is no time in ISO 8601"),
        (["/a,1", "/b,1", "s3://x,1", "/c,", ",1"], ", row 3: 's3://x' is neither a path nor"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, rows: list[str], message: str) -> None:
    rows = [row if row.count(",") == 2 else f"{row}," for row in rows]
    (tmp_path / "list.csv").write_text("\n".join(["path,size,modified", *rows]))
    assert message in refusal(tmp_path / "list.csv", DataError)


def test_row_numbers_count_the_whole_file_with_left_out_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("job.inventory.manifest_files.READ_ROWS", 2)
    columns = {
        "bucket": ["fruits"] * 6,
        "key": ["a", "b", "c", "d", "e", ""],
        "size": [1, None, 1, 1, 1, 1],
        "is_delete_marker": [False, True, False, True, True, False],
    }
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    assert refusal(tmp_path / "list.parquet", DataError) == ", row 6: its key is missing: mend the list"
    (tmp_path / "list.csv").write_text("bucket,key,size\n" + "fruits,a,1\n" * 200_000 + "fruits,,1\n")
    assert refusal(tmp_path / "list.csv", DataError).startswith(", row 200001: its key is missing")


def test_a_size_of_null_is_missing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["/a", "/b"], "size": [1, None]}), tmp_path / "list.parquet")
    assert refusal(tmp_path / "list.parquet", DataError).startswith(", row 2: its size is missing")


@pytest.mark.parametrize("column", ["path", "size", "etag", "modified", "is_latest"])
def test_a_column_of_lists_is_refused(tmp_path: Path, column: str) -> None:
    columns = {"path": pa.array(["/a"]), "size": pa.array([1])} | {column: pa.array([[1]])}
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    assert " is of type list<element: int64>: write " in refusal(tmp_path / "list.parquet", UsageError)


def test_a_list_without_a_needed_column_is_refused(tmp_path: Path) -> None:
    for head in ("bucket,size", ""):
        (tmp_path / "list.csv").write_text(f"{head}\na,1\n")
        message = refusal(tmp_path / "list.csv", UsageError)
        assert message == " has no column path, nor bucket and key: add one to the list"
    (tmp_path / "list.csv").write_text("path,etag\na,1\n")
    message = refusal(tmp_path / "list.csv", UsageError)
    assert message == " has no column bytes or size: add it to the list"
