"""New, changed, unchanged, missing: a listing against what a table knows."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from job.inventory import comparison, database
from job.inventory.comparison import Comparison
from job.inventory.folder_listing import ListedFile
from job.table.commits import Snapshot
from tests.support.listings import BAD, NETWORK, NOON, ODD, ONE, TWO, Row, known, listed, temporary

LATER: Final = NOON.replace(year=2027)


class Found(NamedTuple):
    """What a comparison finds; the files are those whose rows go."""

    new: list[str]
    changed: list[tuple[str, str]]
    missing: list[tuple[str, str]]
    unchanged: int
    unchanged_rejected: int


def compared(output: Path | str, table: Snapshot, photos: Iterable[ListedFile], retry: bool = False) -> Found:
    """Compare, and find the figures to be those of the lists."""
    with Comparison(photos, str(output), table, NETWORK, retry) as against:
        new = [photo.path for photo in against.new_photos()]
        changed = [(photo.path, file.path) for photo, file in against.changed_photos()]
        rows = [row for batch in against.missing_photos() for row in batch.to_pylist()]
    missing = [(row["path"], row["file"]) for row in rows]
    assert all(row["outcome"] in row["file"] for row in rows)
    assert (against.changed, against.missing) == (len(changed), len(missing))
    assert against.known == len(changed) + len(missing) + against.unchanged
    return Found(new, changed, missing, against.unchanged, against.unchanged_rejected)


def test_a_photo_is_unchanged_by_path_etag_size_and_network_or_it_is_judged_again(tmp_path: Path) -> None:
    rows: list[Row | str] = ["/etag", "/same", "/size", "/time"]
    rows += [Row("/net", backbone="network-0"), Row("/none", None)]
    table = known(tmp_path, {ONE: rows})
    photos = [
        listed("/etag", "other"),
        listed("/net"),
        listed("/new"),
        listed("/none"),
        listed("/same"),
        listed("/size", size=6),
        listed("/time", modified=LATER),
    ]
    found = compared(tmp_path, table, photos)
    assert found == Found(["/new"], [(name, ONE) for name in ("/etag", "/net", "/none", "/size")], [], 2, 0)


def test_a_photo_that_is_judged_again_is_as_it_is_listed_now(tmp_path: Path) -> None:
    table = known(tmp_path, {ONE: ["/a"]})
    photos = [listed("/a", "other", 6, LATER), listed("/b", "", 0, None), listed("/c", "c", 7, LATER)]
    with Comparison(iter(photos), str(tmp_path), table, NETWORK) as against:
        assert [*against.new_photos(), *(photo for photo, _ in against.changed_photos())] == [
            *photos[1:],
            photos[0],
        ]


def test_a_rejected_photo_is_left_alone_unless_it_or_the_network_changed_or_that_is_asked_for(
    tmp_path: Path,
) -> None:
    rows: list[Row | str] = [Row("/decoder", backbone="network-0"), "/left", "/mended"]
    table = known(tmp_path, {ONE: ["/good"], BAD: rows})
    photos = [listed("/decoder"), listed("/good"), listed("/left"), listed("/mended", "other")]
    tried = [("/decoder", BAD), ("/mended", BAD)]
    assert compared(tmp_path, table, photos) == Found([], tried, [], 2, 1)
    tried.insert(1, ("/left", BAD))
    assert compared(tmp_path, table, photos, retry=True) == Found([], tried, [], 1, 0)


@pytest.mark.parametrize("etag", ["", None])
def test_where_a_list_has_no_etags_the_time_of_change_decides_and_without_that_the_size(
    tmp_path: Path, etag: Any
) -> None:
    table = known(tmp_path, {ONE: ["/a", "/b", "/c", Row("/d", None), Row("/e", modified=None), "/f"]})
    photos = [
        listed("/a", etag),
        listed("/b", etag, modified=LATER),
        listed("/c", etag, modified=None),
        listed("/d", etag),
        listed("/e", etag),
        listed("/f", etag, 6, None),
    ]
    found = compared(tmp_path, table, photos)
    assert found.changed == [("/b", ONE), ("/e", ONE), ("/f", ONE)]
    assert found.unchanged == 3


def test_what_is_not_listed_is_missing_and_outdated_if_its_features_are_of_another_network(
    tmp_path: Path,
) -> None:
    old = [Row(name, backbone="network-0") for name in ("/old", "/bad")]
    table = known(tmp_path, {ONE: [Row("/a"), Row("/c"), old[0]], BAD: [Row("/b"), old[1]]})
    with Comparison([listed("/c"), listed("/d")], str(tmp_path), table, NETWORK) as against:
        assert (against.missing, against.missing_outdated) == (4, 1)
    assert compared(tmp_path, table, []).missing[:2] == [("/a", ONE), ("/c", ONE)]


def test_new_photos_come_by_path_as_bytes_sort_and_changed_ones_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "FILES_AHEAD", 1)
    monkeypatch.setattr(database, "ROWS_PER_BATCH", 3)
    names = sorted(f"/{name}" for name in ODD)
    assert names == sorted(names, key=str.encode)
    table = known(tmp_path, {TWO: names[::3], ONE: names[1::3]})
    found = compared(tmp_path, table, [listed(name, "other") for name in names])
    assert found.new == names[2::3]
    assert found.changed == [(name, ONE) for name in names[1::3]] + [(name, TWO) for name in names[::3]]


def test_the_listing_is_not_held_where_nothing_is_known(tmp_path: Path) -> None:
    listing = iter([listed(f"/{number:05}") for number in range(1_000)])
    with Comparison(listing, str(tmp_path), Snapshot(), NETWORK) as against:
        new = against.new_photos()
        assert [next(new).path for _ in range(5)][-1] == "/00004"
        assert next(listing).path == "/00005"
    assert compared(tmp_path, Snapshot(), []) == Found([], [], [], 0, 0)


def test_a_file_of_the_table_that_cannot_be_read_is_told_as_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spilled = temporary(tmp_path, monkeypatch)
    table = known(tmp_path, {ONE: ["/a"], TWO: ["/b"]})
    (tmp_path / "photos" / TWO).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        compared(tmp_path, table, [listed("/a")])
    assert str(caught.value.filename).endswith(TWO)
    assert list(spilled.iterdir()) == []
