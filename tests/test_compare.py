"""New, changed, unchanged, missing: a listing against what a table knows."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from job import compare, database
from job.compare import Comparison
from job.errors import UsageError
from job.table.commits import Snapshot
from job.walk import Listed
from tests.listings import BAD, NETWORK, NOON, ODD, ONE, TWO, Row, bytes_in, known, listed, temporary

LATER: Final = NOON.replace(year=2027)


class Found(NamedTuple):
    """What a comparison finds; the files are those whose rows go."""

    new: list[str]
    changed: list[tuple[str, str]]
    missing: list[tuple[str, str]]
    unchanged: int
    unchanged_rejected: int


def compared(output: Path | str, table: Snapshot, photos: Iterable[Listed], retry: bool = False) -> Found:
    """Compare, and find the figures to be those of the lists."""
    with Comparison(photos, str(output), table, NETWORK, retry) as comparison:
        new = [photo.path for photo in comparison.new()]
        changed = [(photo.path, file.path) for photo, file in comparison.changed_photos()]
        rows = [row for batch in comparison.missing_photos() for row in batch.to_pylist()]
    missing = [(row["path"], row["file"]) for row in rows]
    assert all(row["outcome"] in row["file"] for row in rows)
    assert (comparison.changed, comparison.missing) == (len(changed), len(missing))
    assert comparison.known == len(changed) + len(missing) + comparison.unchanged
    return Found(new, changed, missing, comparison.unchanged, comparison.unchanged_rejected)


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
    with Comparison(iter(photos), str(tmp_path), table, NETWORK) as comparison:
        assert [*comparison.new(), *(photo for photo, _ in comparison.changed_photos())] == [
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
    with Comparison([listed("/c"), listed("/d")], str(tmp_path), table, NETWORK) as comparison:
        assert (comparison.missing, comparison.outdated) == (4, 1)
    assert compared(tmp_path, table, []).missing[:2] == [("/a", ONE), ("/c", ONE)]


def test_new_photos_come_by_path_as_bytes_sort_and_changed_ones_file_by_file(tmp_path: Path) -> None:
    names = sorted(f"/{name}" for name in ODD)
    assert names == sorted(names, key=str.encode)
    table = known(tmp_path, {TWO: names[::3], ONE: names[1::3]})
    found = compared(tmp_path, table, [listed(name, "other") for name in names])
    assert found.new == names[2::3]
    assert found.changed == [(name, ONE) for name in names[1::3]] + [(name, TWO) for name in names[::3]]


PATHS: Final = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
FACTS: Final = (
    st.sampled_from(["e1", "e2", ""]),
    st.sampled_from([5, 6]),
    st.sampled_from([NOON, LATER, None]),
)
NETWORKS: Final = st.sampled_from([NETWORK, NETWORK, "network-0"])
CASES: Final = st.dictionaries(
    PATHS.filter(lambda path: "\0" not in path),
    st.tuples(
        st.none() | st.tuples(*FACTS),
        st.none() | st.tuples(st.sampled_from([ONE, TWO, BAD]), *FACTS, NETWORKS),
    ),
    max_size=12,
)


def naively(cases: dict[str, tuple[Any, Any]], retry: bool) -> Found:
    """Compare photo by photo, as they are listed and as they are known."""
    found = Found([], [], [], 0, 0)
    unchanged: list[bool] = []
    for path, (photo, row) in sorted(cases.items()):
        if row is None:
            if photo is not None:
                found.new.append(path)
            continue
        file, etag, size, modified, backbone = row
        if photo is None:
            found.missing.append((path, file))
            continue
        same = photo[0] == etag if photo[0] else photo[2] in (None, modified)
        if same and photo[1] == size and backbone == NETWORK and not (retry and file == BAD):
            unchanged.append(file == BAD)
        else:
            found.changed.append((path, file))
    for some in (found.changed, found.missing):
        some.sort(key=lambda one: one[::-1])
    return found._replace(unchanged=len(unchanged), unchanged_rejected=sum(unchanged))


@settings(derandomize=True, deadline=None, max_examples=30, phases=[Phase.generate])
@given(CASES, st.booleans(), st.integers(1, 3))
def test_any_listing_and_any_table_compare_as_dictionaries_do(
    cases: dict[str, tuple[Any, Any]], retry: bool, few: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as output:
        patch.setattr(compare, "ROWS_PER_BATCH", few)
        patch.setattr(compare, "FILES_AHEAD", few)
        patch.setattr(database, "ROWS_PER_BATCH", few)
        rows: dict[str, list[Row | str]] = {}
        for path, (_, row) in cases.items():
            if row is not None:
                rows.setdefault(row[0], []).append(Row(path, *row[1:]))
        photos = [listed(path, *photo) for path, (photo, _) in sorted(cases.items()) if photo is not None]
        assert compared(output, known(output, rows), iter(photos), retry) == naively(cases, retry)


def test_the_listing_is_not_held_where_nothing_is_known(tmp_path: Path) -> None:
    listing = iter([listed(f"/{number:05}") for number in range(1_000)])
    with Comparison(listing, str(tmp_path), Snapshot(), NETWORK) as comparison:
        new = comparison.new()
        assert [next(new).path for _ in range(5)][-1] == "/00004"
        assert next(listing).path == "/00005"
    assert compared(tmp_path, Snapshot(), []) == Found([], [], [], 0, 0)


@pytest.fixture
def spilled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return temporary(tmp_path, monkeypatch)


def test_what_a_listing_raises_comes_out_as_itself_and_leaves_nothing(tmp_path: Path, spilled: Path) -> None:
    failure = UsageError("its own sentence")

    def listing() -> Iterator[Listed]:
        yield from (listed(f"/{number:05}") for number in range(25_000))
        raise failure

    with pytest.raises(UsageError) as caught:
        compared(tmp_path, known(tmp_path, {ONE: ["/00001", "/x"]}), listing())
    assert caught.value is failure
    assert list(spilled.iterdir()) == []


def test_a_file_of_the_table_that_cannot_be_read_is_told_as_itself(tmp_path: Path, spilled: Path) -> None:
    table = known(tmp_path, {ONE: ["/a"], TWO: ["/b"]})
    (tmp_path / "photos" / TWO).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        compared(tmp_path, table, [listed("/a")])
    assert str(caught.value.filename).endswith(TWO)
    assert list(spilled.iterdir()) == []


def test_a_long_comparison_spills_what_its_memory_does_not_hold(
    tmp_path: Path, spilled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MEMORY", "80MB")
    names = [f"/{'folder ' * 150}/{number:06}" for number in range(60_000)]
    table = known(tmp_path, {ONE: names[::2]})
    with Comparison(map(listed, names[20_000:]), str(tmp_path), table, NETWORK) as comparison:
        assert bytes_in(spilled) > 2**20
        assert (comparison.unchanged, comparison.missing) == (20_000, 10_000)
        assert [photo.path for photo in comparison.new()] == names[20_001::2]
    assert list(spilled.iterdir()) == []
