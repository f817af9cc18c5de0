"""Skipped files: those with other endings, and litter under a photo's name."""

import io
from pathlib import Path

import pyarrow as pa
import pytest

from job.cli.log import Log
from job.commands import erase, show
from job.commands.selection import Selection
from job.errors import DataError
from job.inventory import manifest
from job.inventory.folder_listing import ListedFile
from job.inventory.listing import Listing, Source
from job.inventory.skipped_files import APPLE_DOUBLE_START, SkippedFiles, skip_kind
from job.storage import s3
from job.table import layout, path_lists
from tests.support import tables
from tests.support.listings import make, put, take

APPLE_DOUBLE = APPLE_DOUBLE_START + b"\0\2\0\0Mac OS X        " + bytes(100)
LITTER = {
    "__MACOSX/fruits/._a.jpg": "__MACOSX",
    ".git/a.jpg": "hidden folder",
    ".ipynb_checkpoints/a-checkpoint.jpg": "hidden folder",
    ".thumbnails/normal/a.png": "hidden folder",
    "Apple/.Trash-1000/files/a.jpg": "hidden folder",
    "Apple/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg": "@eaDir",
    "$RECYCLE.BIN/S-1-5/a.jpg": "$RECYCLE.BIN",
    "$Recycle.Bin/S-1-5/b.jpg": "$Recycle.Bin",
    "Apple/Thumbs.db": ".db",
    "Apple/.DS_Store": ".ds_store",
    "Apple/h": "no ending",
    "Apple/Anna.Schmidt": "other ending",
    "Apple/i.jpg.1": "other ending",
    "Apple/k.jpg?width=200": "other ending",
    "Apple/m.jpg~": "other ending",
}


@pytest.mark.parametrize(("name", "kind"), LITTER.items())
def test_litter_and_other_endings_have_a_kind(name: str, kind: str) -> None:
    assert skip_kind(name) == kind


@pytest.mark.parametrize("name", ["a.JFIF", "b/._c.jpg", "macosx/a.jpg", "a.git/b.webp", ".jpg"])
def test_a_photo_has_no_kind(name: str) -> None:
    assert skip_kind(name) == ""


def test_only_photos_are_listed_from_a_macs_folder_and_the_rest_is_recorded(tmp_path: Path) -> None:
    make(tmp_path / "in", "Training/Apple/a.jpg", "Training/Apple/b.jpg", *LITTER)
    (tmp_path / "in/Training/Apple/._a.jpg").write_bytes(APPLE_DOUBLE)
    (tmp_path / "in/Training/Apple/._b.jpg").write_bytes(b"\xff\xd8\xff, a photo of that name")
    (tmp_path / "in/Training/Apple/._c.jpg").touch()
    inventory, rows = take(tmp_path / "in", to=tmp_path)
    assert [Path(row["path"]).name for row in rows] == ["._b.jpg", "._c.jpg", "a.jpg", "b.jpg"]
    assert inventory.skipped == len(LITTER) + 1
    assert inventory.skipped_kinds["hidden folder"] == 4
    assert inventory.skipped_kinds["AppleDouble"] == 1
    listed = path_lists.read(str(tmp_path), layout.SKIPPED).to_pylist()
    assert [row["path"] for row in listed] == sorted(row["path"] for row in listed)
    assert {"path": f"{tmp_path}/in/Training/Apple/._a.jpg", "kind": "AppleDouble"} in listed
    assert {row["path"] for row in listed} >= {f"{tmp_path}/in/{name}" for name in LITTER}


def test_only_photos_are_listed_in_order_from_a_macs_bucket(bucket: str, tmp_path: Path) -> None:
    put(bucket, *(f"in/{number:03}.jpg" for number in range(300)))
    client = s3.client(bucket)
    for number in range(200):
        body = APPLE_DOUBLE if number % 2 else b"a photo"
        client.put_object(Bucket=bucket, Key=f"in/._{number:03}.jpg", Body=body)
    client.put_object(Bucket=bucket, Key="in/._empty.jpg")
    inventory, rows = take(f"s3://{bucket}/in", to=tmp_path)
    paths = [row["path"] for row in rows]
    assert paths == sorted(paths)
    assert (inventory.photos, inventory.skipped_kinds) == (300 + 100 + 1, {"AppleDouble": 100})


def test_a_hidden_folder_above_the_input_does_not_matter(tmp_path: Path) -> None:
    make(tmp_path / ".cache/photos", "Apple/a.jpg")
    assert take(tmp_path / ".cache/photos", to=tmp_path)[0].photos == 1


def test_all_files_are_photos_if_asked(tmp_path: Path) -> None:
    make(tmp_path / "in", "Apple/a.jpg", *LITTER)
    source = Source((str(tmp_path / "in"),), "/nowhere", all_files=True)
    listed = Listing(source)
    assert len(list(listed)) == len(LITTER) + 1
    assert not listed.skipped.counts


def test_an_input_of_litter_alone_is_a_data_error_that_names_all_files(tmp_path: Path) -> None:
    make(tmp_path / "in", ".git/a.jpg", "b.txt")
    with pytest.raises(DataError, match=r"skipped by name \(1 .*\); --all-files takes them"):
        take(tmp_path / "in", to=tmp_path)


def test_every_row_of_a_manifest_is_a_photo_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,size\n/p/.git/a.jpg,5\n/p/b.txt,5\n/p/c,5\n")
    photos = Listing(Source((), "/nowhere", manifest=str(tmp_path / "list.csv")))
    assert [photo.path for photo in photos] == ["/p/.git/a.jpg", "/p/b.txt", "/p/c"]


def test_an_s3_inventory_is_filtered_by_the_names_below_the_input(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [".data/in/a.jpg", ".data/in/b.txt", ".data/in/.git/c.jpg", ".data/in/._a.jpg"]
    s3.client(bucket).put_object(Bucket=bucket, Key=keys[3], Body=APPLE_DOUBLE)
    photos = [ListedFile(f"s3://{bucket}/{key}", 5, "e", None) for key in keys]
    monkeypatch.setattr(manifest, "read", lambda *_: iter(sorted(photos)))
    source = Source((f"s3://{bucket}/.data/in",), "/nowhere", manifest=str(tmp_path / "manifest.json"))
    listed = Listing(source)
    assert [photo.path for photo in listed] == [f"s3://{bucket}/.data/in/a.jpg"]
    assert listed.skipped.counts == {".txt": 1, "hidden folder": 1, "AppleDouble": 1}


def test_the_list_is_whole_up_to_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.inventory.skipped_files.MOST_LISTED", 25_000)
    skipped = SkippedFiles()
    for number in range(25_001):
        skipped.add(f"/{number:05}", ".txt")
    assert skipped.counts == {".txt": 25_001}
    paths = [path for batch in skipped.batches() for path in batch["path"].to_pylist()]
    assert paths == [f"/{number:05}" for number in range(25_000)]


def test_a_link_into_litter_leads_to_photos_and_links_in_litter_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path / "in", ".versions/3/Apple/a.jpg", "plain/b.jpg")
    make(tmp_path, "elsewhere/c.jpg")
    (tmp_path / "in/current").symlink_to(".versions/3")
    (tmp_path / "in/.first").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/second").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/.versions/loop").symlink_to(tmp_path / "in")
    photos = ["current/Apple/a.jpg", "plain/b.jpg", "second/c.jpg"]
    for inputs in ([tmp_path / "in"], [tmp_path / "in", tmp_path / "in/current"]):
        inventory, rows = take(*inputs, to=tmp_path)
        assert [row["path"] for row in rows] == [f"{tmp_path}/in/{photo}" for photo in photos]
        assert inventory.skipped_kinds == {"hidden folder": 1}


def test_a_hidden_folder_that_is_an_input_of_its_own_is_listed(bucket: str, tmp_path: Path) -> None:
    names = ["data/.hidden/a.jpg", "data/b.jpg", "data/.other/c.jpg"]
    make(tmp_path / "in", *names)
    put(bucket, *names)
    for folder in (f"{tmp_path}/in", f"s3://{bucket}"):
        for inputs in (["data", "data/.hidden"], ["data/.hidden", "data"]):
            inventory, rows = take(*(f"{folder}/{name}" for name in inputs), to=tmp_path)
            assert [row["path"] for row in rows] == [f"{folder}/{name}" for name in names[:2]]
            assert inventory.skipped == 1


def test_a_skipped_file_is_shown_and_erased(tmp_path: Path) -> None:
    output, path = str(tmp_path), "/photos/Apple/notes of Ada.txt"
    tables.make(output, tables.A)
    listed = pa.record_batch([[path, "/photos/b.gif"], [".txt", ".gif"]], names=["path", "kind"])
    with tables.writing(output) as writer:
        path_lists.write(writer, layout.SKIPPED, [listed])
    log = Log("erasure-1", as_json=True, out=io.StringIO(), err=io.StringIO())
    selection = Selection(frozenset([path]))
    assert show.run(output, selection, log)["photos"] == [{"path": path, "skipped": ".txt"}]
    result = erase.run(output, selection, "request 17", log)
    assert erase.summary(result).startswith("erased photos: 1 skipped files")
    assert path_lists.read(output, layout.SKIPPED)["path"].to_pylist() == ["/photos/b.gif"]
    with pytest.raises(DataError, match="nothing is known"):
        show.run(output, selection, log)
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"Ada" in file.read_bytes()]
