"""The output: one input at a time, nothing deleted that is not ours, and records that are whole."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job import output, s3, store
from job.errors import JobError, UsageError
from job.output import claim, commit, release

PEARS = {"inputs": ["/pears"], "limit": None}
PLUMS = {"inputs": ["/plums", "s3://plums"], "limit": None}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def fill(folder: Path) -> None:
    """Write a file into each of our tables, and some of somebody's beside them."""
    for name in (*store.OURS, "holiday", ".git"):
        (folder / name / "deep").mkdir(parents=True)
        (folder / name / "deep/file").write_text(name)
    (folder / "notes.txt").write_text("mine")
    (folder / "features.txt").write_text("mine")


def refusal(location: object, made_from: dict[str, Any], overwrite: bool = False) -> str:
    with pytest.raises(UsageError) as caught:
        claim(str(location), made_from, overwrite)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(location) in sentence
    assert "--output" in sentence
    return sentence


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return an output that does not exist yet; in S3, objects are kept in a dictionary."""
    if request.param == "folder":
        return f"{tmp_path}/some/out"
    objects: dict[str, bytes] = {}

    def read(location: str) -> bytes:
        if location in objects:
            return objects[location]
        raise FileNotFoundError(errno.ENOENT, "No such file", location)

    def write(location: str, data: bytes, only_if_new: bool) -> bool:
        new = location not in objects
        objects[location] = objects.get(location, data) if only_if_new else data
        return new or not only_if_new

    def below(location: str) -> list[str]:
        return [name for name in objects if name == location or name.startswith(location + "/")]

    def delete_tree(location: str) -> None:
        for name in below(location):
            del objects[name]

    monkeypatch.setattr(s3, "read", read)
    monkeypatch.setattr(s3, "write", write)
    monkeypatch.setattr(
        s3, "list_objects", lambda location: iter((name, 1, "e", None) for name in below(location))
    )
    monkeypatch.setattr(s3, "delete_tree", delete_tree)
    return "s3://bucket/out"


def test_the_first_claim_is_kept_and_the_same_input_may_come_again(place: str) -> None:
    assert claim(place, PEARS, overwrite=False), "it was free"
    assert json.loads(store.read_bytes(f"{place}/_input.json")) == PEARS
    store.write_bytes(f"{place}/features/part-0", b"pears")
    assert not claim(place, {"limit": None, "inputs": ("/pears",)}, overwrite=False)
    assert store.read_bytes(f"{place}/features/part-0") == b"pears"


def test_another_input_is_refused_with_the_difference_and_nothing_is_touched(place: str) -> None:
    claim(place, PEARS, overwrite=False)
    store.write_bytes(f"{place}/features/part-0", b"pears")
    assert "(inputs was /pears, now /plums, s3://plums)" in refusal(place, PLUMS)
    limited = refusal(place, {**PEARS, "limit": 5})
    assert "(limit was not set, now 5): choose another --output, or replace them with --overwrite" in limited
    assert "(new was not set, now 1)" in refusal(place, {**PEARS, "new": 1})
    assert "(inputs was /pears, now not set)" in refusal(place, {"limit": None})
    assert store.read_bytes(f"{place}/features/part-0") == b"pears"
    assert json.loads(store.read_bytes(f"{place}/_input.json")) == PEARS


def test_overwriting_deletes_our_tables_but_the_erasures_and_claims_the_output(place: str) -> None:
    claim(place, PEARS, overwrite=False)
    for name in (*store.OURS, "holiday"):
        store.write_bytes(f"{place}/{name}/deep/file", name.encode())
    assert not claim(place, PLUMS, overwrite=True)
    left = [f"{place}/{name}/deep/file" for name in (store.ERASURES, "holiday")]
    assert [name for name, _ in store.list_files(place)] == left
    assert json.loads(store.read_bytes(f"{place}/_input.json")) == PLUMS


def test_overwriting_the_same_input_deletes_nothing(tmp_path: Path) -> None:
    claim(str(tmp_path), PEARS, overwrite=False)
    fill(tmp_path)
    before = tree(tmp_path)
    claim(str(tmp_path), PEARS, overwrite=True)
    assert tree(tmp_path) == before


def test_foreign_files_survive_overwriting(tmp_path: Path) -> None:
    claim(str(tmp_path), PEARS, overwrite=False)
    fill(tmp_path)
    claim(str(tmp_path), PLUMS, overwrite=True)
    assert set(tree(tmp_path)) == {
        "_input.json",
        "erasures/deep/file",
        "holiday/deep/file",
        ".git/deep/file",
        "notes.txt",
        "features.txt",
    }


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", store.OURS)
def test_what_has_the_name_of_a_table_but_is_not_ours_is_never_claimed(
    place: str, name: str, overwrite: bool
) -> None:
    store.write_bytes(f"{place}/{name}/file", b"mine")
    assert f"has a {name} that this job did not write" in refusal(place, PEARS, overwrite)
    assert [found for found, _ in store.list_files(place)] == [f"{place}/{name}/file"]
    with pytest.raises(FileNotFoundError):
        store.read_bytes(f"{place}/_input.json")


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_file_or_a_link_in_the_place_of_a_table_is_not_ours(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "models")
    assert "has a models that" in refusal(tmp_path, PEARS, overwrite=True)
    assert os.listdir(tmp_path) == ["models"]  # noqa: PTH208


def test_empty_folders_and_names_that_only_begin_like_a_table_are_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "features2").mkdir()
    (tmp_path / "features2/file").touch()
    claim(str(tmp_path), PEARS, overwrite=False)


@pytest.mark.parametrize("found", [b"", b"[1]", b"null", b'{"inputs": ', b"\xff\xfe"])
def test_a_claim_that_is_not_one_of_ours_protects_what_is_there(tmp_path: Path, found: bytes) -> None:
    fill(tmp_path)
    (tmp_path / "_input.json").write_bytes(found)
    before = tree(tmp_path)
    for overwrite in (False, True):
        assert "is not a claim of this job" in refusal(tmp_path, PEARS, overwrite)
    assert tree(tmp_path) == before


def test_a_deletion_that_broke_off_is_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(str(tmp_path), PEARS, overwrite=False)
    fill(tmp_path)
    delete, calls = store.delete_tree, iter(range(100))

    def breaks(location: str) -> None:
        if next(calls) == 3:
            raise OSError(errno.EIO, "Input/output error")
        delete(location)

    monkeypatch.setattr(store, "delete_tree", breaks)
    with pytest.raises(JobError, match="cannot be written: Input/output error"):
        claim(str(tmp_path), PLUMS, overwrite=True)
    assert json.loads((tmp_path / "_input.json").read_bytes()) == PEARS, (
        "still what is left of it is made from"
    )
    claim(str(tmp_path), PLUMS, overwrite=True)
    assert set(os.listdir(tmp_path)) & set(store.OURS) == {store.ERASURES}  # noqa: PTH208


def test_a_faster_run_between_the_look_and_the_claim_is_noticed(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = output._refuse_what_is_not_ours

    def slow(location: str) -> None:
        look(location)
        monkeypatch.setattr(output, "_refuse_what_is_not_ours", look)
        claim(location, PLUMS, overwrite=False)
        store.write_bytes(f"{location}/features/part-0", b"plums")

    monkeypatch.setattr(output, "_refuse_what_is_not_ours", slow)
    assert "inputs was /plums" in refusal(place, PEARS)


def test_a_commit_writes_a_whole_record_where_it_says(place: str) -> None:
    record = {"status": "completed", "input": ["/pêche \udcff"], "counts": {"listed": 3}}
    where = commit(place, "night-1", record)
    assert where == f"{place}/runs/night-1.json"
    assert json.loads(store.read_bytes(where)) == record
    assert "pêche".encode() in store.read_bytes(where), "for people, too"
    claim(f"{place}2", record, overwrite=False)
    claim(f"{place}2", record, overwrite=False)


def test_a_claim_can_be_taken_back_while_nothing_is_written(place: str) -> None:
    claim(place, PEARS, overwrite=False)
    release(place)
    assert claim(place, PLUMS, overwrite=False), "the right input may come"
    store.write_bytes(f"{place}/inventory/of-another-run/part-0", b"")
    release(place)
    assert "inputs was /plums" in refusal(place, PEARS)
