"""The inventory: every photo a row, labelled, under its exact name; and what leaves the table with it."""

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from job.errors import DataError
from job.inventory import listing, tasks
from job.inventory.comparison import Comparison
from job.inventory.labels import label_and_split
from job.inventory.listing import Inventory, Source
from job.run import checks
from job.storage import s3, store
from job.table import commits, files, layout, path_lists, provenance, schema
from job.table.writer import Writer, exclusive_writer
from tests.support.listings import BAD, NETWORK, NOON, ODD, ONE, TWO, Row, known, make, put, rows_of, take

THREE: Final = "outcome=featurized/part-3.parquet"


def test_a_photo_is_what_is_called_one_in_any_case_and_the_rest_is_counted(tmp_path: Path) -> None:
    photos = ["a.JPG", "b.jpeg", "c.Png", "d.webp", "e.tar.jpg", ".jpg", "l.JFIF", "m.jpe", "n.pjpeg"]
    photos += ["o.mpo", "p.jif", "q.jps", "r.apng", "s.pjp", "t.jfi"]
    others = ["f.gif", "g.jpg.txt", "h.jpgx", "jpg", "i.jp", "j.xjpg", "k", ".DS_Store"]
    make(tmp_path / "in", *photos, *others)
    taken, rows = take(tmp_path / "in", to=tmp_path)
    assert [Path(row["path"]).name for row in rows] == sorted(photos)
    assert (taken.photos, taken.skipped) == (len(photos), len(others))
    assert taken.skipped_kinds == dict.fromkeys((".txt", ".jpgx", ".gif", ".xjpg", ".ds_store", ".jp"), 1) | {
        "no ending": 2
    }
    skipped = path_lists.read(str(tmp_path), layout.SKIPPED)
    assert skipped.schema.equals(schema.LISTS[layout.SKIPPED])
    assert skipped["path"].to_pylist() == sorted(f"{tmp_path}/in/{name}" for name in others)
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
    assert tasks.read(taken.tasks.location, 0).schema.equals(schema.TASKS)


@pytest.mark.parametrize(
    ("path", "label", "split"),
    [
        ("/data/Training/apple/1.jpg", "apple", "Training"),
        ("/data/Test/apple/1.jpg", "apple", "Test"),
        ("/data/training/apple/1.jpg", "apple", "Training"),
        ("/data/TRAIN/apple/1.jpg", "apple", "Training"),
        ("/data/test/apple/1.jpg", "apple", "Test"),
        ("/data/Validation/apple/1.jpg", "apple", "Validation"),
        ("/data/val/apple/1.jpg", "apple", "Validation"),
        ("/data/valid/apple/1.jpg", "apple", "Validation"),
        ("/data/Testing ground/apple/1.jpg", "apple", None),
        ("/data/Test/Pe\u0302che/1.jpg", "P\u00eache", "Test"),
        ("/data/Test/P\u00eache/1.jpg", "P\u00eache", "Test"),
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


def test_odd_names_in_folders_come_back_as_they_are(tmp_path: Path) -> None:
    files = [f"{name}/{name}.jpg" for name in ODD]
    make(tmp_path / "in", *files)
    _, rows = take(tmp_path / "in", to=tmp_path)
    assert [row["path"] for row in rows] == sorted(f"{tmp_path}/in/{file}" for file in files)
    for row in rows:
        name = row["path"].removeprefix(f"{tmp_path}/in/")
        assert store.read_bytes(row["path"]) == name.encode()
        assert row["label"] == unicodedata.normalize("NFC", name.split("/")[0])


def test_what_stands_for_a_folder_in_s3_is_no_photo(bucket: str) -> None:
    put(bucket, "in/1.jpg", "in/not.txt", "in/folder.jpg/", "in2/other.jpg")
    s3.client(bucket).put_object(Bucket=bucket, Key="in/marker.jpg/")
    taken, rows = take(f"s3://{bucket}/in", to=f"s3://{bucket}/_out")
    assert [row["path"] for row in rows] == [f"s3://{bucket}/in/1.jpg"]
    assert taken.skipped == 2  # the text, and the object called like a folder that is not empty


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
    (tmp_path / "in/itself.jpg").symlink_to(tmp_path / "in/itself.jpg")
    (tmp_path / "in/link.jpg").symlink_to(tmp_path / "real.jpg")
    os.mkfifo(tmp_path / "in/pipe.jpg")
    taken, rows = take(tmp_path / "in", to=tmp_path)
    names = ["dangling.jpg", "empty.jpg", "itself.jpg", "link.jpg"]
    assert [Path(row["path"]).name for row in rows] == names
    assert [row["bytes"] for row in rows[1::2]] == [0, 8]
    assert taken.skipped == 1


@contextmanager
def run(output: Path) -> Iterator[Writer]:
    """Be a run that writes to an output."""
    requested = provenance.of_run(["/in"], None)
    first_actions = partial(provenance.first_actions, str(output), requested=requested, overwrite=False)
    with exclusive_writer(str(output), "a run", "run", first_actions=first_actions) as it:
        yield it


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return an output that knows eight photos of ``in``, of which four are there, one as another."""
    folder, out = tmp_path / "in", tmp_path / "out"
    make(folder, "a.jpg", "b.jpg", "g.jpg", "h.jpg")
    etags = {listed.path: listed.etag for listed in listing.Listing(Source((str(folder),), "/nowhere"))}

    def rows(*names: str) -> list[Row | str]:
        paths = [f"{folder}/{name}.jpg" for name in names]
        return [Row(path, "another" if path.endswith("b.jpg") else etags.get(path)) for path in paths]

    with run(out) as writer:
        whole = {ONE: rows("a", "b", "c"), TWO: rows("d", "e"), THREE: rows("h"), BAD: rows("f", "g")}
        writer.commit(known(out, whole).files.values())
    return out


def taken(writer: Writer, prune: bool, max_pruned: float = 1) -> Inventory:
    def check_comparison(comparison: Comparison) -> None:
        checks.check_missing(comparison, prune, max_pruned)

    source = Source((f"{Path(writer.output).parent}/in",), writer.output)
    return listing.take_inventory(
        source, writer, NETWORK, 2, 256, prune=prune, check_comparison=check_comparison
    )


def names_of(output: Path) -> dict[str, list[str]]:
    """Return the names of a table's photos by its files."""
    found = commits.load(str(output))
    assert found is not None
    places = {path: files.location(str(output), path) for path in found.files}
    return {
        path: [Path(name).stem for name in files.read(place)["path"].to_pylist()]
        for path, place in places.items()
    }


def missing_of(output: Path) -> list[tuple[str, str]]:
    """Return the names and outcomes of the photos that the last run did not find."""
    found = path_lists.read(str(output), layout.MISSING)
    assert found.schema.equals(schema.LISTS[layout.MISSING])
    return [(Path(row["path"]).stem, row["outcome"]) for row in found.to_pylist()]


def test_photos_that_are_missing_are_listed_and_stay(table: Path) -> None:
    before = names_of(table)
    with run(table) as writer:
        found = taken(writer, prune=False)
        assert (found.photos, found.unchanged, found.unchanged_rejected, found.todo) == (4, 3, 1, 1)
        assert (found.missing, found.pruned) == (4, 0)
    good, bad = layout.FEATURIZED, layout.REJECTED
    assert missing_of(table) == [("c", good), ("d", good), ("e", good), ("f", bad)]
    assert names_of(table) == before
    make(table.parent / "in", *(f"{name}.jpg" for name in "cdef"))
    with run(table) as writer:
        assert taken(writer, prune=False).missing == 0
    assert missing_of(table) == []


def test_pruned_photos_leave_by_one_commit_and_changed_ones_replace_rows_of_the_new_files(
    table: Path,
) -> None:
    with run(table) as writer:
        first = writer.snapshot.version
        found = taken(writer, prune=True)
        assert (found.missing, found.pruned, found.unchanged) == (4, 4, 3)
        assert writer.snapshot.version == first + 1
        now = names_of(table)
        assert sorted(now.values()) == [["a", "b"], ["g"], ["h"]], "a file without rows is none"
        assert now[THREE] == ["h"]
        [changed] = rows_of(found)
        assert (Path(changed["path"]).stem, now[changed["replaces"]]) == ("b", ["a", "b"])
    lines = (table / f"photos/_delta_log/{first + 1:020}.json").read_text().splitlines()
    assert Counter(key for line in lines for key in json.loads(line)) == Counter(
        commitInfo=1, add=2, remove=3
    )
    assert len(path_lists.read(str(table), layout.MISSING)) == 0


def test_no_more_photos_are_pruned_than_is_plausible(table: Path) -> None:
    before = names_of(table)
    with run(table) as writer:
        sentence = r"4 of 8 known photos are not listed any more, and --max-pruned 0.49"
        with pytest.raises(DataError, match=sentence):
            taken(writer, True, max_pruned=0.49)
        assert names_of(table) == before
        assert taken(writer, True, max_pruned=0.5).pruned == 4


def test_an_input_without_any_photo_takes_nothing_out_of_the_table(table: Path) -> None:
    before = names_of(table)
    for photo in (table.parent / "in").iterdir():
        photo.rename(photo.with_suffix(".txt"))
    with run(table) as writer, pytest.raises(DataError, match=r"no photos in .*: none of 4 files"):
        taken(writer, prune=True)
    assert names_of(table) == before


def test_a_list_is_compared_with_the_table_as_a_listing_is(tmp_path: Path, table: Path) -> None:
    with run(table) as writer:
        listed = taken(writer, prune=False)
        rows = rows_of(listed)
        photos = list(listing.Listing(Source((f"{tmp_path}/in",), "/nowhere")))[::-1]
        lines = [f"{one.path},{one.bytes},{one.etag},{one.modified}" for one in photos]
        (tmp_path / "list.csv").write_text("\n".join(["path,size,etag,modified", *lines]))
        source = Source((f"{tmp_path}/in",), str(table), manifest=f"{tmp_path}/list.csv")
        told = listing.take_inventory(source, writer, NETWORK, 2, 256)
        assert (told, rows_of(told)) == (listed, rows)
