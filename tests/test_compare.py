"""New, changed, unchanged, removed: a listing against what an output holds, in blocks of any size."""

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from job import compare
from job.compare import Comparison
from job.known import Known
from job.walk import Listed
from tests.known_rows import NETWORK, NOON, Row, listed, write

ONE: Final = "features/part-1.parquet"
TWO: Final = "features/part-2.parquet"
BAD: Final = "rejected/part-1.parquet"


def compared(
    output: Path | str, photos: Sequence[Listed], retry: bool = False
) -> tuple[Comparison, list[str]]:
    """Compare a listing, and return the comparison and the paths that are new."""
    comparison = Comparison(Known(str(output), NETWORK), retry)
    return comparison, [photo.path for photo in comparison.new(photos)]


def changed(comparison: Comparison) -> list[tuple[str, str]]:
    """Return what is to be made again: paths, and the files whose rows go."""
    rows = comparison.changed().to_pylist()
    return [(row["path"], row["replaces"]) for row in rows]


def removed(comparison: Comparison) -> list[tuple[str, str]]:
    return sorted((row["path"], row["file"]) for part in comparison.removed for row in part.to_pylist())


def figures(comparison: Comparison) -> tuple[int, int, int, int]:
    found = comparison
    return (found.listed, found.unchanged, found.unchanged_rejected, found.removed_features)


def test_where_nothing_is_known_everything_is_new(tmp_path: Path) -> None:
    comparison, new = compared(tmp_path, [listed("/a"), listed("/b")])
    assert new == ["/a", "/b"]
    assert figures(comparison) == (2, 0, 0, 0)
    assert changed(comparison) == []
    assert comparison.drop(prune=True) == {}


def test_a_photo_is_unchanged_by_path_etag_size_and_network_or_it_is_made_again(tmp_path: Path) -> None:
    write(tmp_path.as_posix(), ONE, ["/etag", "/same", "/size", "/time", Row("/net", backbone="network-0")])
    photos = [
        listed("/etag", "other"),
        listed("/net"),
        listed("/new"),
        listed("/same"),
        listed("/size", size=6),
        listed("/time", modified=NOON.replace(year=2027)),
    ]
    comparison, new = compared(tmp_path, photos)
    assert new == ["/new"]
    assert changed(comparison) == [("/etag", ONE), ("/net", ONE), ("/size", ONE)]
    assert figures(comparison) == (6, 2, 0, 0)
    row = comparison.changed().to_pylist()[2]
    assert row == {"path": "/size", "etag": "e", "bytes": 6, "modified": NOON, "replaces": ONE}


@pytest.mark.parametrize("retry", [False, True])
def test_a_rejected_photo_is_tried_again_if_it_changed_or_if_that_is_asked_for(
    tmp_path: Path, retry: bool
) -> None:
    write(str(tmp_path), BAD, [Row("/bad", backbone="network-0"), Row("/mended")])
    write(str(tmp_path), ONE, ["/good"])
    photos = [listed("/bad"), listed("/good"), listed("/mended", "other")]
    comparison, new = compared(tmp_path, photos, retry)
    assert new == []
    assert changed(comparison) == [("/bad", BAD)] * retry + [("/mended", BAD)]
    assert figures(comparison) == ((3, 1, 0, 0) if retry else (3, 2, 1, 0))


def test_what_is_not_listed_any_more_is_removed_and_its_rows_go_only_if_that_is_asked_for(
    tmp_path: Path,
) -> None:
    write(str(tmp_path), ONE, ["/a", "/c", "/e", "/g"])
    write(str(tmp_path), BAD, ["/b", "/h"])
    comparison, new = compared(tmp_path, [listed("/c"), listed("/d")])
    assert new == ["/d"]
    assert removed(comparison) == [("/a", ONE), ("/b", BAD), ("/e", ONE), ("/g", ONE), ("/h", BAD)]
    assert figures(comparison) == (2, 1, 0, 3)
    assert comparison.drop(prune=False) == {}
    assert {file: sorted(paths) for file, paths in comparison.drop(prune=True).items()} == {
        ONE: ["/a", "/e", "/g"],
        BAD: ["/b", "/h"],
    }


def test_of_two_rows_of_a_photo_the_one_in_features_counts_and_then_the_one_of_the_listed_etag(
    tmp_path: Path,
) -> None:
    write(str(tmp_path), ONE, [Row("/both", "old"), Row("/gone"), "/same", Row("/twice", "new")])
    write(str(tmp_path), TWO, [Row("/gone"), "/same", Row("/twice", "old")])
    write(str(tmp_path), BAD, [Row("/both", "new")])
    photos = [listed("/both", "new"), listed("/same"), listed("/twice", "new")]
    comparison, new = compared(tmp_path, photos)
    assert new == []
    assert changed(comparison) == [("/both", ONE)]
    assert comparison.unchanged == 2
    assert removed(comparison) == [("/gone", TWO)]
    surplus = {file: sorted(paths) for file, paths in comparison.drop(prune=False).items()}
    assert surplus == {BAD: ["/both"], ONE: ["/gone", "/same"], TWO: ["/twice"]}
    assert sorted(comparison.drop(prune=True)[TWO]) == ["/gone", "/twice"]
    assert comparison.surplus[TWO] == ["/twice"], "asking changes nothing"


@pytest.mark.parametrize("etag", ["", None])
def test_where_a_list_has_no_etags_the_time_of_change_stands_in_for_it(tmp_path: Path, etag: Any) -> None:
    write(str(tmp_path), ONE, ["/a", "/b", "/c", Row("/d", None), Row("/e", modified=None)])
    photos = [
        listed("/a", etag),
        listed("/b", etag, modified=NOON.replace(year=2027)),
        listed("/c", etag, modified=None),
        listed("/d", etag),
        listed("/e", etag, modified=None),
    ]
    comparison, _ = compared(tmp_path, photos)
    assert [path for path, _ in changed(comparison)] == ["/b"]
    assert comparison.unchanged == 4, "where the list has no time either, the size alone decides"


def test_changed_photos_come_file_by_file(tmp_path: Path) -> None:
    write(str(tmp_path), TWO, ["/a", "/c", "/e"])
    write(str(tmp_path), ONE, ["/b", "/d"])
    comparison, _ = compared(tmp_path, [listed(f"/{name}", "other") for name in "abcde"])
    assert changed(comparison) == [("/b", ONE), ("/d", ONE), ("/a", TWO), ("/c", TWO), ("/e", TWO)]


@pytest.mark.parametrize("block", [1, 2, 3, 100])
def test_a_listing_longer_than_a_block_is_compared_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(compare, "BLOCK", block)
    names = [f"/{number:03}" for number in range(60)]
    write(str(tmp_path), ONE, names[::3])
    write(str(tmp_path), TWO, names[1::3])
    comparison, new = compared(tmp_path, [listed(name) for name in names if name[-1] != "0"])
    assert new == [name for name in names[2::3] if name[-1] != "0"]
    known = [name for name in names if name not in names[2::3]]
    assert [path for path, _ in removed(comparison)] == [name for name in known if name[-1] == "0"]
    assert comparison.unchanged == len([name for name in known if name[-1] != "0"])


def test_the_listing_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "BLOCK", 10)
    write(str(tmp_path), ONE, ["/00050"])
    listing = iter([listed(f"/{number:05}") for number in range(1_000)])
    new = Comparison(Known(str(tmp_path), NETWORK)).new(listing)
    assert [next(new).path for _ in range(5)][-1] == "/00004"
    assert next(listing).path == "/00010"


PATHS: Final = st.sampled_from([f"/{letter}{digit}" for letter in "abc" for digit in "12345"])
ROWS: Final = st.builds(
    Row,
    PATHS,
    st.sampled_from(["e1", "e2", None]),
    st.sampled_from([5, 6]),
    st.sampled_from([NOON, None]),
    st.sampled_from([NETWORK, NETWORK, "network-0"]),
    st.just("truncated"),
)
FILES: Final = st.dictionaries(
    st.sampled_from([ONE, TWO, "features/part-3.parquet", BAD, "rejected/part-2.parquet"]),
    st.lists(ROWS, max_size=8, unique_by=lambda row: row.path),
)
LISTINGS: Final = st.lists(
    st.builds(
        listed,
        PATHS,
        st.sampled_from(["e1", "e2", ""]),
        st.sampled_from([5, 6]),
        st.sampled_from([NOON, None]),
    ),
    unique_by=lambda photo: photo.path,
).map(sorted)


def naively(files: dict[str, list[Row]], photos: list[Listed], retry: bool) -> dict[str, Any]:
    """Compare with dictionaries."""
    wanted = {photo.path: photo for photo in photos}
    rows: defaultdict[str, list[tuple[bool, bool, str, Row]]] = defaultdict(list)
    for file, some in files.items():
        for row in some:
            rank = row.etag == (wanted[row.path].etag if row.path in wanted else None)
            rows[row.path].append((file.startswith("features"), rank, file, row))
    found: dict[str, Any] = {"new": [], "unchanged": 0, "rejected": 0, "changed": set(), "removed": set()}
    surplus = set()
    for path, known in rows.items():
        ranked = sorted(known, key=lambda one: one[:3])
        surplus |= {(name, path) for _, _, name, _ in ranked[:-1]}
        good, _, file, row = ranked[-1]
        if path not in wanted:
            found["removed"].add((path, file))
            continue
        photo = wanted[path]
        same = photo.etag == (row.etag or "") if photo.etag else photo.modified in (None, row.modified)
        same = same and photo.bytes == row.bytes and (row.backbone == NETWORK or not good)
        if same and (good or not retry):
            found["unchanged"] += 1
            found["rejected"] += not good
        else:
            found["changed"].add((path, file))
    found["new"] = [photo.path for photo in photos if photo.path not in rows]
    return {**found, "surplus": surplus}


@settings(derandomize=True, deadline=None, max_examples=80, phases=[Phase.generate])
@given(FILES, LISTINGS, st.booleans(), st.integers(1, 6))
def test_any_listing_and_any_tables_compare_as_dictionaries_do(
    files: dict[str, list[Row]], photos: list[Listed], retry: bool, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as output:
        patch.setattr(compare, "BLOCK", block)
        for file, rows in files.items():
            write(output, file, rows)
        comparison, new = compared(output, photos, retry)
        drop = comparison.drop(prune=False)
    wanted = naively(files, photos, retry)
    assert new == wanted["new"]
    assert comparison.listed == len(photos)
    assert (comparison.unchanged, comparison.unchanged_rejected) == (wanted["unchanged"], wanted["rejected"])
    assert sorted(changed(comparison)) == sorted(wanted["changed"])
    assert removed(comparison) == sorted(wanted["removed"])
    good = [path for path, file in wanted["removed"] if file.startswith("features")]
    assert comparison.removed_features == len(good)
    assert sorted((file, path) for file, paths in drop.items() for path in paths) == sorted(wanted["surplus"])
