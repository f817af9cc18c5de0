"""What an output holds already: every photo of its tables, in ascending steps, from files of any kind."""

import random
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from job import ranges, s3, store
from job.known import FILES_AHEAD, SCHEMA, Known
from tests.known_rows import NETWORK, NOON, Row, drawn, write, write_in_groups
from tests.s3_servers import Moto


def paths(table: pa.Table) -> list[str]:
    found: list[str] = sorted(table["path"].to_pylist())
    return found


def in_steps(output: str, *lasts: str) -> list[list[str]]:
    """Return the paths of the steps up to each of some paths, and of those that are left."""
    steps = Known(output, NETWORK).steps()
    taken = [paths(steps.until(last)) for last in lasts]
    taken += [paths(table) for table in steps.rest()]
    steps.close()
    return taken


def test_photos_come_in_ascending_steps_from_files_whose_paths_overlap(tmp_path: Path) -> None:
    out = str(tmp_path)
    write(out, "features/part-9.parquet", ["/a", "/e", "/z"])
    write(out, "features/part-1.parquet", ["/d", "/f"])
    write(out, "features/part-5.parquet", ["/y"])
    write(out, "rejected/part-1.parquet", ["/b", "/x"])
    assert in_steps(out, "/0", "/c", "/d", "/f") == [
        [],
        ["/a", "/b"],
        ["/d"],
        ["/e", "/f"],
        ["/x"],
        ["/y", "/z"],
    ]


def test_a_photo_tells_its_table_its_file_and_whether_its_network_is_todays(tmp_path: Path) -> None:
    out = str(tmp_path)
    rows = [Row("/a", "e1", 7), Row("/b", backbone="network-0"), Row("/c", None, 0, None, None)]
    write(out, "features/part-0.parquet", rows)
    write(out, "rejected/part-0.parquet", [Row("/d", "e2", 9, backbone="network-0")])
    steps = Known(f"{out}/", NETWORK).steps()
    found = steps.until("/d").sort_by("path")
    steps.close()
    assert found.schema == SCHEMA
    features, rejected = "features/part-0.parquet", "rejected/part-0.parquet"
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("/a", "e1", 7, NOON, True, True, features),
        ("/b", "e", 5, NOON, True, False, features),
        ("/c", None, 0, None, True, False, features),
        ("/d", "e2", 9, NOON, False, True, rejected),
    ]


def test_a_file_that_is_not_in_order_is_put_in_order(tmp_path: Path) -> None:
    names = [f"/{number:03}" for number in range(50)]
    shuffled = random.Random(1).sample(names, 50)
    write_in_groups(str(tmp_path), "features/part-0.parquet", [Row(name) for name in shuffled], 7)
    assert in_steps(str(tmp_path), "/009", "/0105") == [names[:10], names[10:11], names[11:]]


def test_a_file_begins_with_the_least_of_its_row_groups_paths(tmp_path: Path) -> None:
    out, long = str(tmp_path), "/2" + "x" * 9_000  # of which there are no statistics
    write_in_groups(out, "features/part-0.parquet", [Row(name) for name in ("/5", "/4", "/9", "/1")], 2)
    write_in_groups(out, "features/part-1.parquet", [Row("/6"), Row(long)], 1)
    assert in_steps(out, "/1", "/3", "/5") == [["/1"], [long], ["/4", "/5"], ["/6"], ["/9"]]


def test_nothing_and_files_without_rows_are_no_photos(tmp_path: Path) -> None:
    assert in_steps(f"{tmp_path}/none", "/a") == [[]]
    write(str(tmp_path), "features/part-0.parquet", [])
    write(str(tmp_path), "rejected/part-0.parquet", [])
    assert in_steps(str(tmp_path), "/a") == [[]]
    write(str(tmp_path), "features/part-1.parquet", ["/b"])
    assert in_steps(str(tmp_path), "/a") == [[], ["/b"]]


def test_a_path_too_long_for_statistics_is_in_its_place(tmp_path: Path) -> None:
    out, long = str(tmp_path), "/b" + "x" * 9_000
    write(out, "features/part-0.parquet", [long])
    write(out, "features/part-1.parquet", ["/a", "/c"])
    assert in_steps(out, "/b", long) == [["/a"], [long], ["/c"]]


def test_of_more_files_than_are_read_ahead_none_is_missed_or_taken_twice(tmp_path: Path) -> None:
    names = [f"/{number:04}" for number in range(FILES_AHEAD * 12)]
    files = random.Random(2).sample(names, len(names))
    count = FILES_AHEAD * 3
    for number in range(count):
        write(str(tmp_path), f"features/part-{number}.parquet", sorted(files[number::count]))
    steps = in_steps(str(tmp_path), *names[::5])
    assert [path for step in steps for path in step] == names


def test_what_is_known_is_what_was_there_when_it_was_asked(tmp_path: Path) -> None:
    out = str(tmp_path)
    write(out, "features/part-0.parquet", ["/a"])
    write(out, "rejected/part-0.parquet", ["/b"])
    known = Known(out, NETWORK)
    write(out, "features/part-1.parquet", ["/c"])
    assert [file.location for file in known.features] == [f"{out}/features/part-0.parquet"]
    assert [file.location for file in known.rejected] == [f"{out}/rejected/part-0.parquet"]
    steps = known.steps()
    assert paths(steps.until("/z")) == ["/a", "/b"]
    steps.close()


def test_of_a_large_file_in_s3_the_features_are_not_fetched(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 600
    out = f"s3://{bucket}/out"
    write(out, "features/part-0.parquet", [f"/{row:04}" for row in range(rows)], drawn(rows))
    [(_, size)] = store.list_files(out)
    fetched: list[int] = []

    def read_range(location: str, start: int, length: int) -> bytes:
        fetched.append(length)
        return s3.read_range(location, start, length)

    monkeypatch.setattr(store, "open_input", lambda _: pytest.fail("the file is read whole"))
    monkeypatch.setattr(ranges, "Ranges", partial(ranges.Ranges, read=read_range))
    assert in_steps(out, "/0299")[0] == [f"/{row:04}" for row in range(300)]
    assert size > 2_000_000
    # The end is fetched for the first path and for the columns, which are small and may be in two places.
    assert len(fetched) <= 6
    assert sum(fetched) < size / 5


def test_of_a_small_file_in_s3_everything_is_fetched_at_once(bucket: str, moto: Moto) -> None:
    out = f"s3://{bucket}/out"
    write(out, "features/part-0.parquet", ["/a", "/b"])
    known = Known(out, NETWORK)
    asked = len(moto.requests())
    steps = known.steps()
    assert paths(steps.until("/z")) == ["/a", "/b"]
    steps.close()
    assert [line.split("?")[0] for line in moto.requests()[asked:]] == [
        f"GET /{bucket}/out/features/part-0.parquet"
    ] * 2


def test_a_part_of_an_object_is_what_the_whole_has_there() -> None:
    data = random.Random(3).randbytes(3 * ranges.END_BYTES)
    asked: list[tuple[int, int]] = []

    def read(_: str, start: int, length: int) -> bytes:
        asked.append((start, length))
        return data[start : start + length]

    with ranges.Ranges("s3://b/k", len(data), read) as file:
        assert asked == [(len(data) - ranges.END_BYTES, ranges.END_BYTES)]
        assert (file.seek(-10, 2), file.read(), file.read(5)) == (len(data) - 10, data[-10:], b"")
        assert (file.seek(-ranges.END_BYTES, 2), file.read(4)) == (asked[0][0], data[asked[0][0] :][:4])
        assert len(asked) == 1, "the end is here already"
        for start, length in ((0, 7), (asked[0][0] - 3, 10), (100, 0)):
            file.seek(start)
            assert file.read(length) == data[start : start + length]
            assert file.tell() == start + length
        assert (file.seek(-4, 1), file.read(8)) == (96, data[96:104])
        assert asked[1:] == [(0, 7), (asked[0][0] - 3, 10), (96, 8)]
    with ranges.Ranges("s3://b/k", 3, read) as small:
        assert small.read() == data[:3]
