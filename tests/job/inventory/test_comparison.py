"""The comparison of a listing with the table: new, changed, unchanged and missing photos."""

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


class Result(NamedTuple):
    """The result of a comparison; the files are those whose rows are replaced or deleted."""

    new: list[str]
    changed: list[tuple[str, str]]
    missing: list[tuple[str, str]]
    unchanged: int
    unchanged_rejected: int


def compare(output: Path | str, table: Snapshot, photos: Iterable[ListedFile], retry: bool = False) -> Result:
    """Compare, and check that the counts match the lists."""
    with Comparison(photos, str(output), table, NETWORK, retry) as comparison:
        new = [photo.path for photo in comparison.new_photos()]
        changed = [(photo.path, file.path) for photo, file in comparison.changed_photos()]
        rows = [row for batch in comparison.missing_photos() for row in batch.to_pylist()]
    missing = [(row["path"], row["file"]) for row in rows]
    assert all(row["outcome"] in row["file"] for row in rows)
    assert (comparison.changed, comparison.missing) == (len(changed), len(missing))
    assert comparison.known == len(changed) + len(missing) + comparison.unchanged
    return Result(new, changed, missing, comparison.unchanged, comparison.unchanged_rejected)


def test_a_photo_with_another_etag_size_or_network_is_changed(tmp_path: Path) -> None:
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
    result = compare(tmp_path, table, photos)
    assert result == Result(["/new"], [(name, ONE) for name in ("/etag", "/net", "/none", "/size")], [], 2, 0)


def test_new_and_changed_photos_are_returned_as_listed_now(tmp_path: Path) -> None:
    table = known(tmp_path, {ONE: ["/a"]})
    photos = [listed("/a", "other", 6, LATER), listed("/b", "", 0, None), listed("/c", "c", 7, LATER)]
    with Comparison(iter(photos), str(tmp_path), table, NETWORK) as comparison:
        assert [*comparison.new_photos(), *(photo for photo, _ in comparison.changed_photos())] == [
            *photos[1:],
            photos[0],
        ]


def test_a_rejected_photo_is_tried_again_if_it_or_the_network_changed_or_on_retry(
    tmp_path: Path,
) -> None:
    rows: list[Row | str] = [Row("/decoder", backbone="network-0"), "/left", "/mended"]
    table = known(tmp_path, {ONE: ["/good"], BAD: rows})
    photos = [listed("/decoder"), listed("/good"), listed("/left"), listed("/mended", "other")]
    changed = [("/decoder", BAD), ("/mended", BAD)]
    assert compare(tmp_path, table, photos) == Result([], changed, [], 2, 1)
    changed.insert(1, ("/left", BAD))
    assert compare(tmp_path, table, photos, retry=True) == Result([], changed, [], 1, 0)


@pytest.mark.parametrize("etag", ["", None])
def test_without_etags_the_modification_time_decides_and_without_times_the_size(
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
    result = compare(tmp_path, table, photos)
    assert result.changed == [("/b", ONE), ("/e", ONE), ("/f", ONE)]
    assert result.unchanged == 3


def test_an_unlisted_photo_is_missing_and_outdated_if_its_network_differs(
    tmp_path: Path,
) -> None:
    old = [Row(name, backbone="network-0") for name in ("/old", "/bad")]
    table = known(tmp_path, {ONE: [Row("/a"), Row("/c"), old[0]], BAD: [Row("/b"), old[1]]})
    with Comparison([listed("/c"), listed("/d")], str(tmp_path), table, NETWORK) as comparison:
        assert (comparison.missing, comparison.missing_outdated) == (4, 1)
    assert compare(tmp_path, table, []).missing[:2] == [("/a", ONE), ("/c", ONE)]


def test_new_photos_are_in_order_of_their_paths_bytes_and_changed_ones_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "FILES_AHEAD", 1)
    monkeypatch.setattr(database, "ROWS_PER_BATCH", 3)
    names = sorted(f"/{name}" for name in ODD)
    assert names == sorted(names, key=str.encode)
    table = known(tmp_path, {TWO: names[::3], ONE: names[1::3]})
    result = compare(tmp_path, table, [listed(name, "other") for name in names])
    assert result.new == names[2::3]
    assert result.changed == [(name, ONE) for name in names[1::3]] + [(name, TWO) for name in names[::3]]


def test_the_listing_is_streamed_if_the_table_is_empty(tmp_path: Path) -> None:
    listing = iter([listed(f"/{number:05}") for number in range(1_000)])
    with Comparison(listing, str(tmp_path), Snapshot(), NETWORK) as comparison:
        new = comparison.new_photos()
        assert [next(new).path for _ in range(5)][-1] == "/00004"
        assert next(listing).path == "/00005"
    assert compare(tmp_path, Snapshot(), []) == Result([], [], [], 0, 0)


def test_a_missing_file_of_the_table_raises_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spilled = temporary(tmp_path, monkeypatch)
    table = known(tmp_path, {ONE: ["/a"], TWO: ["/b"]})
    (tmp_path / "photos" / TWO).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        compare(tmp_path, table, [listed("/a")])
    assert str(caught.value.filename).endswith(TWO)
    assert list(spilled.iterdir()) == []
