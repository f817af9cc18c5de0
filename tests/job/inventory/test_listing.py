"""The inventory: one labelled row per photo under its exact name; missing photos are listed or pruned."""

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


def test_a_file_is_a_photo_by_its_ending_in_any_case_and_others_are_counted(tmp_path: Path) -> None:
    photos = ["a.JPG", "b.jpeg", "c.Png", "d.webp", "e.tar.jpg", ".jpg", "l.JFIF", "m.jpe", "n.pjpeg"]
    photos += ["o.mpo", "p.jif", "q.jps", "r.apng", "s.pjp", "t.jfi"]
    others = ["f.gif", "g.jpg.txt", "h.jpgx", "jpg", "i.jp", "j.xjpg", "k", ".DS_Store"]
    make(tmp_path / "in", *photos, *others)
    inventory, rows = take(tmp_path / "in", to=tmp_path)
    assert [Path(row["path"]).name for row in rows] == sorted(photos)
    assert (inventory.photos, inventory.skipped) == (len(photos), len(others))
    kinds = {".txt": 1, ".gif": 1, ".ds_store": 1, "no ending": 2, "other ending": 3}
    assert inventory.skipped_kinds == kinds
    skipped = path_lists.read(str(tmp_path), layout.SKIPPED)
    assert skipped.schema.equals(schema.LISTS[layout.SKIPPED])
    assert skipped["path"].to_pylist() == sorted(f"{tmp_path}/in/{name}" for name in others)
    assert inventory.bytes == sum(map(len, photos))


def test_a_row_has_the_columns_of_the_schema(tmp_path: Path) -> None:
    make(tmp_path / "in", "Training/apple/1.jpg")
    os.utime(tmp_path / "in/Training/apple/1.jpg", (0, NOON.timestamp()))
    inventory, [row] = take(tmp_path / "in", to=tmp_path)
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
    assert tasks.read(inventory.tasks.location, 0).schema.equals(schema.TASKS)


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


def test_odd_names_in_folders_are_listed_unchanged(tmp_path: Path) -> None:
    files = [f"{name}/{name}.jpg" for name in ODD]
    make(tmp_path / "in", *files)
    _, rows = take(tmp_path / "in", to=tmp_path)
    assert [row["path"] for row in rows] == sorted(f"{tmp_path}/in/{file}" for file in files)
    for row in rows:
        name = row["path"].removeprefix(f"{tmp_path}/in/")
        assert store.read_bytes(row["path"]) == name.encode()
        assert row["label"] == unicodedata.normalize("NFC", name.split("/")[0])


def test_a_folder_marker_in_s3_is_no_photo(bucket: str) -> None:
    put(bucket, "in/1.jpg", "in/not.txt", "in/folder.jpg/", "in2/other.jpg")
    s3.client(bucket).put_object(Bucket=bucket, Key="in/marker.jpg/")
    inventory, rows = take(f"s3://{bucket}/in", to=f"s3://{bucket}/_out")
    assert [row["path"] for row in rows] == [f"s3://{bucket}/in/1.jpg"]
    assert inventory.skipped == 2  # the text, and the marker with content


def test_names_that_are_not_utf_8_differ_from_names_that_look_like_them(tmp_path: Path) -> None:
    names = [b"\xff.jpg", b"\xfe.jpg", b"\\udcff.jpg", b"%FF.jpg", b"\xc3\xa9.jpg"]
    for folder in (b"in", b"in/caf\xe9"):
        (tmp_path / os.fsdecode(folder)).mkdir()
        for name in names:
            (tmp_path / os.fsdecode(folder + b"/" + name)).write_bytes(name)
    inventory, rows = take(tmp_path / "in", to=tmp_path)
    readable = [row["path"] for row in rows if not store.was_unprintable(row["path"])]
    assert inventory.photos == len({row["path"] for row in rows}) == 10
    assert [os.fsencode(Path(path).name) for path in readable] == sorted(names[2:])
    for path in readable:
        assert store.read_bytes(path) == os.fsencode(Path(path).name)
    assert {row["label"] for row in rows} == {"in", "caf\\udce9"}


def test_empty_files_and_links_are_photos_and_a_pipe_is_not(
    tmp_path: Path,
) -> None:
    make(tmp_path, "real.jpg")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/empty.jpg").touch()
    (tmp_path / "in/dangling.jpg").symlink_to(tmp_path / "none")
    (tmp_path / "in/itself.jpg").symlink_to(tmp_path / "in/itself.jpg")
    (tmp_path / "in/link.jpg").symlink_to(tmp_path / "real.jpg")
    os.mkfifo(tmp_path / "in/pipe.jpg")
    inventory, rows = take(tmp_path / "in", to=tmp_path)
    names = ["dangling.jpg", "empty.jpg", "itself.jpg", "link.jpg"]
    assert [Path(row["path"]).name for row in rows] == names
    assert [row["bytes"] for row in rows[1::2]] == [0, 8]
    assert inventory.skipped == 1


@contextmanager
def run(output: Path) -> Iterator[Writer]:
    """Return the writer of a run on an output."""
    requested = provenance.of_run(["/in"], None)
    first_actions = partial(provenance.first_actions, str(output), requested=requested, overwrite=False)
    with exclusive_writer(str(output), "a run", "run", first_actions=first_actions) as writer:
        yield writer


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return an output with eight photos, of which ``in`` holds four, one of them changed."""
    folder, out = tmp_path / "in", tmp_path / "out"
    make(folder, "a.jpg", "b.jpg", "g.jpg", "h.jpg")
    etags = {listed.path: listed.etag for listed in listing.Listing(Source((str(folder),), "/nowhere"))}

    def rows(*names: str) -> list[Row | str]:
        paths = [f"{folder}/{name}.jpg" for name in names]
        return [Row(path, "another" if path.endswith("b.jpg") else etags.get(path)) for path in paths]

    with run(out) as writer:
        by_file = {ONE: rows("a", "b", "c"), TWO: rows("d", "e"), THREE: rows("h"), BAD: rows("f", "g")}
        writer.commit(known(out, by_file).files.values())
    return out


def take_inventory(writer: Writer, prune: bool, max_pruned: float = 1) -> Inventory:
    def check_comparison(comparison: Comparison) -> None:
        checks.check_missing(comparison, prune, max_pruned)

    source = Source((f"{Path(writer.output).parent}/in",), writer.output)
    return listing.take_inventory(
        source, writer, NETWORK, 2, 256, prune=prune, check_comparison=check_comparison
    )


def names_of(output: Path) -> dict[str, list[str]]:
    """Return the names of a table's photos by its files."""
    snapshot = commits.load(str(output))
    assert snapshot is not None
    locations = {path: files.location(str(output), path) for path in snapshot.files}
    return {
        path: [Path(name).stem for name in files.read(location)["path"].to_pylist()]
        for path, location in locations.items()
    }


def missing_of(output: Path) -> list[tuple[str, str]]:
    """Return the names and outcomes of the photos that the last run did not list."""
    missing = path_lists.read(str(output), layout.MISSING)
    assert missing.schema.equals(schema.LISTS[layout.MISSING])
    return [(Path(row["path"]).stem, row["outcome"]) for row in missing.to_pylist()]


def test_missing_photos_are_listed_and_stay(table: Path) -> None:
    before = names_of(table)
    with run(table) as writer:
        inventory = take_inventory(writer, prune=False)
        counts = (inventory.photos, inventory.unchanged, inventory.unchanged_rejected, inventory.todo)
        assert counts == (4, 3, 1, 1)
        assert (inventory.missing, inventory.pruned) == (4, 0)
    good, bad = layout.FEATURIZED, layout.REJECTED
    assert missing_of(table) == [("c", good), ("d", good), ("e", good), ("f", bad)]
    assert names_of(table) == before
    make(table.parent / "in", *(f"{name}.jpg" for name in "cdef"))
    with run(table) as writer:
        assert take_inventory(writer, prune=False).missing == 0
    assert missing_of(table) == []


def test_pruning_is_one_commit_and_changed_photos_replace_rows_of_the_new_files(
    table: Path,
) -> None:
    with run(table) as writer:
        first = writer.snapshot.version
        inventory = take_inventory(writer, prune=True)
        assert (inventory.missing, inventory.pruned, inventory.unchanged) == (4, 4, 3)
        assert writer.snapshot.version == first + 1
        names = names_of(table)
        assert sorted(names.values()) == [["a", "b"], ["g"], ["h"]], "no file without rows is written"
        assert names[THREE] == ["h"]
        [changed] = rows_of(inventory)
        assert (Path(changed["path"]).stem, names[changed["replaces"]]) == ("b", ["a", "b"])
    lines = (table / f"photos/_delta_log/{first + 1:020}.json").read_text().splitlines()
    assert Counter(key for line in lines for key in json.loads(line)) == Counter(
        commitInfo=1, add=2, remove=3
    )
    assert len(path_lists.read(str(table), layout.MISSING)) == 0


def test_pruning_more_photos_than_the_limit_is_refused(table: Path) -> None:
    before = names_of(table)
    with run(table) as writer:
        sentence = r"4 of 8 known photos are not listed any more, and --max-pruned 0.49"
        with pytest.raises(DataError, match=sentence):
            take_inventory(writer, True, max_pruned=0.49)
        assert names_of(table) == before
        assert take_inventory(writer, True, max_pruned=0.5).pruned == 4


def test_an_input_without_photos_prunes_nothing(table: Path) -> None:
    before = names_of(table)
    for photo in (table.parent / "in").iterdir():
        photo.rename(photo.with_suffix(".txt"))
    with run(table) as writer, pytest.raises(DataError, match=r"skipped by name \(4 .txt\)"):
        take_inventory(writer, prune=True)
    assert names_of(table) == before


def test_a_manifest_is_compared_with_the_table_like_a_listing(tmp_path: Path, table: Path) -> None:
    with run(table) as writer:
        from_listing = take_inventory(writer, prune=False)
        rows = rows_of(from_listing)
        photos = list(listing.Listing(Source((f"{tmp_path}/in",), "/nowhere")))[::-1]
        lines = [f"{photo.path},{photo.bytes},{photo.etag},{photo.modified}" for photo in photos]
        (tmp_path / "list.csv").write_text("\n".join(["path,size,etag,modified", *lines]))
        source = Source((f"{tmp_path}/in",), str(table), manifest=f"{tmp_path}/list.csv")
        from_manifest = listing.take_inventory(source, writer, NETWORK, 2, 256)
        assert (from_manifest, rows_of(from_manifest)) == (from_listing, rows)
