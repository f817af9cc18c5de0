"""The inventory: every photo a row, labelled, under its exact name."""

import os
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from job import s3, store, tasks
from job.labels import label_and_split
from tests.listings import NOON, make, put, take

# Names that some layer between a folder and a table could take for something else.
NAMES: Final = (
    "two words",
    "é",
    "e\u0301",
    "it's",
    'say "x"',
    "100%",
    "%20",
    "a%2Fb",
    "#1",
    "a=b&c+d",
    "what?",
    "[x]{y}",
    "*",
    "back\\slash",
    "\\udcff",
    "line\nbreak",
    "tab\t",
    "~",
    "🍎",
    " lead and trail ",
    "-rf",
    "file:",
    "s3:",
)


def test_a_photo_is_what_is_called_one_in_any_case_and_the_rest_is_counted(tmp_path: Path) -> None:
    photos = ["a.JPG", "b.jpeg", "c.Png", "d.webp", "e.tar.jpg", ".jpg"]
    others = ["f.gif", "g.jpg.txt", "h.jpgx", "jpg", "i.jp", "j.xjpg", "k", ".DS_Store"]
    make(tmp_path / "in", *photos, *others)
    taken, rows = take(tmp_path / "in", to=tmp_path)
    assert [Path(row["path"]).name for row in rows] == sorted(photos)
    assert (taken.photos, taken.skipped) == (len(photos), len(others))
    assert taken.bytes == sum(map(len, photos))


def test_a_row_has_the_columns_of_the_schema(tmp_path: Path) -> None:
    make(tmp_path / "in", "Training/apple/1.jpg")
    os.utime(tmp_path / "in/Training/apple/1.jpg", (0, NOON.timestamp()))
    taken, [row] = take(tmp_path / "in", to=tmp_path)
    assert row == {
        "path": str(tmp_path / "in/Training/apple/1.jpg"),
        "label": "apple",
        "split": "Training",
        "etag": row["etag"],
        "bytes": 20,
        "modified": NOON,
        "replaces": None,
    }
    assert row["etag"]
    assert tasks.read(taken.tasks.location, 0).schema.equals(store.INVENTORY_SCHEMA)


@pytest.mark.parametrize(
    ("path", "label", "split"),
    [
        ("/data/Training/apple/1.jpg", "apple", "Training"),
        ("/data/Test/apple/1.jpg", "apple", "Test"),
        ("/data/training/apple/1.jpg", "apple", None),
        ("/data/Training/more/apple/1.jpg", "apple", None),
        ("/data/Training/1.jpg", "Training", None),
        ("/Training/apple/1.jpg", "apple", "Training"),
        ("/apple/1.jpg", "apple", None),
        ("/1.jpg", None, None),
        ("s3://bucket/1.jpg", None, None),
        ("s3://bucket/apple/1.jpg", "apple", None),
        ("s3://Training/apple/1.jpg", "apple", None),  # a bucket is no folder
        ("s3://bucket/Test/apple/1.jpg", "apple", "Test"),
        ("s3://bucket/Test//1.jpg", None, "Test"),
        ("/data/\udcff/1.jpg", "\\udcff", None),
    ],
)
def test_label_and_split_are_the_folders_above(path: str, label: str | None, split: str | None) -> None:
    assert label_and_split(path) == (label, split)


def test_the_sample_is_listed_with_its_labels(sample: Path, tmp_path: Path) -> None:
    taken, rows = take(sample, to=tmp_path)
    found = Counter((path.parent.parent.name, path.parent.name) for path in sample.rglob("*.jpg"))
    assert Counter((row["split"], row["label"]) for row in rows) == found
    assert taken.photos == found.total()
    assert taken.bytes == sum(path.stat().st_size for path in sample.rglob("*.jpg"))


def test_odd_names_in_folders_come_back_as_they_are(tmp_path: Path) -> None:
    files = [f"{name}/{name}.jpg" for name in NAMES]
    make(tmp_path / "in", *files)
    _, rows = take(tmp_path / "in", to=tmp_path)
    assert [row["path"] for row in rows] == sorted(f"{tmp_path}/in/{file}" for file in files)
    for row in rows:
        name = row["path"].removeprefix(f"{tmp_path}/in/")
        assert store.read_bytes(row["path"]) == name.encode()
        assert row["label"] == name.split("/")[0]


def test_odd_keys_in_s3_come_back_as_they_are(bucket: str) -> None:
    keys = [f"in/{name}/{name}.jpg" for name in NAMES if "\n" not in name]  # moto takes no line break
    keys += ["in//empty.jpg", "in/./dot.jpg", "in/a/../up.jpg", "in/a//b.jpg"]
    put(bucket, *keys, "in2/other.jpg", "in/folder.jpg/", "in/not.txt")
    s3.client(bucket).put_object(Bucket=bucket, Key="in/marker.jpg/")
    taken, rows = take(f"s3://{bucket}/in", to=f"s3://{bucket}/_out")
    assert [row["path"] for row in rows] == sorted(f"s3://{bucket}/{key}" for key in keys)
    assert taken.skipped == 2  # the text, and the object called like a folder that is not empty
    for row in rows:
        assert store.read_bytes(row["path"]) == s3.split(row["path"])[1].encode()


def test_names_that_are_not_utf_8_are_listed_apart_from_those_that_look_like_them(tmp_path: Path) -> None:
    names = [b"\xff.jpg", b"\xfe.jpg", b"\\udcff.jpg", b"%FF.jpg", b"\xc3\xa9.jpg"]
    for folder in (b"in", b"in/caf\xe9"):
        (tmp_path / os.fsdecode(folder)).mkdir()
        for name in names:
            (tmp_path / os.fsdecode(folder + b"/" + name)).write_bytes(name)
    taken, rows = take(tmp_path / "in", to=tmp_path)
    readable = [row["path"] for row in rows if not store.was_unprintable(row["path"])]
    assert taken.photos == len({row["path"] for row in rows}) == 10
    assert [os.fsencode(Path(path).name) for path in readable] == sorted(names[2:])
    for path in readable:
        assert store.read_bytes(path) == os.fsencode(Path(path).name)
    assert {row["label"] for row in rows} == {"in", "caf\\udce9"}


def test_an_empty_file_a_dangling_link_and_a_link_to_a_photo_are_photos_and_a_pipe_is_not(
    tmp_path: Path,
) -> None:
    make(tmp_path, "real.jpg")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/empty.jpg").touch()
    (tmp_path / "in/dangling.jpg").symlink_to(tmp_path / "none")
    (tmp_path / "in/link.jpg").symlink_to(tmp_path / "real.jpg")
    os.mkfifo(tmp_path / "in/pipe.jpg")
    taken, rows = take(tmp_path / "in", to=tmp_path)
    assert [Path(row["path"]).name for row in rows] == ["dangling.jpg", "empty.jpg", "link.jpg"]
    assert [row["bytes"] for row in rows[1:]] == [0, 8]
    assert taken.skipped == 1
