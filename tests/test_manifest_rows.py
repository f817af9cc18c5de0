"""The rows of a list: columns of many names and types, paths and times as people write them, and faults."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from job import manifest
from job.errors import DataError, UsageError
from job.walk import Listed
from tests.listings import NOON


def read(location: object) -> list[Listed]:
    return list(manifest.read(str(location), ()))


def refusal(file: Path, kind: type[DataError] | type[UsageError]) -> str:
    """Return what is said of a file, after its name."""
    with pytest.raises(kind) as caught:
        read(file)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.startswith(str(file))
    return sentence.removeprefix(str(file))


@pytest.mark.parametrize(
    "head",
    [
        "bucket,key,size",
        "Bucket,Key,Bytes",
        " BUCKET ,kEy,SIZE",
        "\ufeffbucket,key,size",
        '"bucket","key","size"',
    ],
)
def test_columns_are_known_by_their_names_in_any_case(tmp_path: Path, head: str) -> None:
    (tmp_path / "list.csv").write_text(f"{head}\nfruits,a b/c%20+.jpg,7\n")
    assert read(tmp_path / "list.csv") == [Listed("s3://fruits/a b/c%20+.jpg", 7, "", None)]


def test_other_types_of_columns_are_brought_to_ours(tmp_path: Path) -> None:
    columns = {
        "path": pa.array(["/b", "/b", "/a"]).dictionary_encode(),
        "size": pa.array([1.0, 2.0, 3.0]),
        "e_tag": pa.array(['"x"', '"y"', None], pa.large_string()),
        "last_modified_date": pa.array([5_000_000_999, 6_000_000_999, None], pa.timestamp("ns")),
        "is_latest": pa.array([None, False, True]),
    }
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    second = datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert read(tmp_path / "list.parquet") == [Listed("/a", 3, "", None), Listed("/b", 1, "x", second)]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("s3a://fruits/x.jpg", "s3://fruits/x.jpg"),
        ("S3://fruits//x/./y.jpg", "s3://fruits//x/./y.jpg"),
        ("file:///p/%C3%A9%20+.jpg", "/p/é +.jpg"),
        ("file:///p/%FF.jpg", "/p/\udcff.jpg"),
        ("/p//q.jpg", "/p/q.jpg"),
        ("/p/./q.jpg", "/p/q.jpg"),
        ("/p/nowhere/../q.jpg", "/p/q.jpg"),
        ("/p/q.jpg/", "/p/q.jpg"),
        ("/p/%20.jpg", "/p/%20.jpg"),
        ("x/y.jpg", f"{Path.cwd()}/x/y.jpg"),
    ],
)
def test_paths_are_taken_as_on_the_command_line_and_keys_to_the_letter(
    tmp_path: Path, written: str, path: str
) -> None:
    (tmp_path / "list.csv").write_text(f"path,size\n/0.jpg,1\n{written},1\n")
    assert [photo.path for photo in read(tmp_path / "list.csv")] == ["/0.jpg", path]


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-21T12:00:00.000Z",
        "2026-11-21 12:00:00",
        "2026-11-21T13:00:00+01:00",
        "2026-11-21T12:00:00.000000999Z",
    ],
)
def test_times_are_read_in_all_of_iso_8601_and_are_utc_without_a_zone(tmp_path: Path, written: str) -> None:
    (tmp_path / "list.csv").write_text(f"path,size,modified\n/a,1,{written}\n/b,1,\n")
    photos = read(tmp_path / "list.csv")
    assert [photo.modified for photo in photos] == [NOON, None]
    assert photos[0].modified.tzinfo is UTC  # type: ignore[union-attr]


def test_a_time_that_python_does_not_know_is_none(tmp_path: Path) -> None:
    times = pa.array([300_000_000_000, 1], pa.timestamp("s"))
    pq.write_table(
        pa.table({"path": ["/a", "/b"], "size": [1, 1], "modified": times}), tmp_path / "x.parquet"
    )
    assert [photo.modified and photo.modified.year for photo in read(tmp_path)] == [None, 1970]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["/a,1", ",1"], ", row 2: its path is missing: mend the list"),
        (["/a,"], ", row 1: bytes is '', not int64: mend the list"),
        (["/a,1", "/b,-1"], ", row 2: its size is missing or below 0: mend the list"),
        (["/a,1", "/b,1 kB"], ", row 2: bytes is '1 kB', not int64: mend the list"),
        (["s3://fruits,1"], ", row 1: 's3://fruits' is neither a path nor an object's s3://bucket/key"),
        (["s3a://fruits/,1"], ", row 1: 's3://fruits/' is neither a path nor an object's s3://bucket/key"),
        (["s3://Fruits_1/a,1"], "'s3://Fruits_1/a' is neither a path nor an object's s3://bucket/key"),
        (["http://fruits/a,1"], "'http://fruits/a' is neither a path nor an object's s3://bucket/key"),
        (["/a,1,yesterday"], ", row 1: modified is 'yesterday', which is no time in ISO 8601"),
        (["/a,1", "/b,1", "s3://x,1", "/c,", ",1"], ", row 3: 's3://x' is neither a path nor"),
    ],
)
def test_a_row_that_is_no_photos_is_named(tmp_path: Path, rows: list[str], said: str) -> None:
    rows = [row if row.count(",") == 2 else f"{row}," for row in rows]
    (tmp_path / "list.csv").write_text("\n".join(["path,size,modified", *rows]))
    assert said in refusal(tmp_path / "list.csv", DataError)


def test_a_row_is_counted_through_the_whole_file_and_with_those_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("job.manifest_files.READ_ROWS", 2)
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


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("file,size", " has no column path, nor bucket and key: add one to the list"),
        ("bucket,size", " has no column path, nor bucket and key: add one to the list"),
        ("", " has no column path, nor bucket and key: add one to the list"),
        ("path,etag", " has no column bytes or size: add it to the list"),
    ],
)
def test_a_list_without_a_needed_column_is_refused(tmp_path: Path, head: str, said: str) -> None:
    (tmp_path / "list.csv").write_text(f"{head}\na,1\n")
    assert refusal(tmp_path / "list.csv", UsageError) == said
