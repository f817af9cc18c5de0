"""Rows replaced in or taken out of a table's file: in its place, in order, and the same if done twice."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from job import drops, rewrite, store
from job.backbone import FEATURES
from job.moments import Moments
from tests.known_rows import Row, drawn, table, write

FILE = "features/part-0.parquet"


@pytest.fixture(params=["folder", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an output; its name is one that readers of whole folders take for a column."""
    if request.param == "folder":
        return str(tmp_path / "label=kiwi")
    return f"s3://{request.getfixturevalue('bucket')}/label=kiwi"


def etags(location: str) -> dict[str, str]:
    """Return the etags of a file's rows by their paths, in the file's order."""
    whole = rewrite.read(location)
    return dict(zip(whole["path"].to_pylist(), whole["etag"].to_pylist(), strict=True))


def test_rows_are_replaced_in_the_files_own_place_and_order_and_schema(output: str) -> None:
    at = store.join(output, FILE)
    write(output, FILE, ["/a", "/b", "/c"], drawn(3))
    new = table(FILE, [Row("/c", "new"), Row("/aa", "new")], drawn(2, seed=1))
    for _ in range(2):  # as when Spark runs a task again
        rewrite.replace(at, ["/b", "/c", "/aa", "/not there"], new)
        assert list(etags(at).items()) == [("/a", "e"), ("/aa", "new"), ("/c", "new")]
    found = rewrite.read(at)
    assert found.schema.equals(store.FEATURES)
    rows = np.array(found["features"].to_pylist(), np.float32)
    assert rows.tobytes() == np.vstack([drawn(3)[0], drawn(2, seed=1)[[1, 0]]]).tobytes()
    assert [file.location for file in store.list_stored(output)] == [at]


def test_replacing_with_nothing_takes_rows_out(output: str) -> None:
    at = store.join(output, "rejected/part-0.parquet")
    write(output, "rejected/part-0.parquet", ["/a", "/b"])
    rewrite.replace(at, ["/a", "/b"], table("rejected/", []))
    found = rewrite.read(at)
    assert len(found) == 0
    assert found.schema.equals(store.REJECTED)


def test_dropped_rows_are_handed_back_once_and_the_others_stay_as_they_are(output: str) -> None:
    at = store.join(output, FILE)
    write(output, FILE, ["/a", "/b", "/c"], drawn(3))
    gone = rewrite.drop(at, {"/b", "/not there"})
    assert gone["path"].to_pylist() == ["/b"]
    assert gone["features"].to_pylist() == [drawn(3)[1].tolist()]
    assert list(etags(at)) == ["/a", "/c"]
    [before] = store.list_stored(output)
    assert len(rewrite.drop(at, {"/b"})) == 0
    assert list(store.list_stored(output)) == [before], "what has nothing to lose is not written"


def test_rows_of_some_photos_are_read_with_only_the_columns_asked_for(output: str) -> None:
    write(output, FILE, ["/a", "/b", "/c"])
    at = store.join(output, FILE)
    assert rewrite.rows_of(at, ["/c", "/a", "/x"], ["etag"]).to_pylist() == [
        {"path": "/a", "etag": "e"},
        {"path": "/c", "etag": "e"},
    ]
    assert rewrite.rows_of(at, []).to_pylist() == []
    assert rewrite.rows_of(at, ["/b"]).schema.equals(store.FEATURES)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(str(tmp_path), FILE, ["/a", "/b"], drawn(2))
    before = (tmp_path / FILE).read_bytes()

    def half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="disk full"):
        rewrite.drop(str(tmp_path / FILE), ["/a"])
    assert [file.read_bytes() for file in (tmp_path / "features").iterdir()] == [before]


def test_what_is_dropped_of_many_files_comes_back_as_moments(tmp_path: Path) -> None:
    output, rows = str(tmp_path), drawn(12)
    for number in range(4):
        part = slice(3 * number, 3 * number + 3)
        names = [f"/{row:02}" for row in range(12)[part]]
        write(output, f"features/part-{number}.parquet", names, rows[part])
    write(output, "rejected/part-0.parquet", ["/bad", "/worse"])
    paths_of = {
        "features/part-0.parquet": ["/00", "/02"],
        "features/part-3.parquet": ["/10", "/not there"],
        "rejected/part-0.parquet": ["/bad"],
    }
    dropped = drops.drop(output, paths_of)
    assert dropped.rows == 4
    assert dropped.files == {"part-0.parquet", "part-3.parquet"}
    wanted = Moments.of(rows[[0, 2, 10]])
    assert dropped.moments.n == 3
    np.testing.assert_allclose(dropped.moments.mean, wanted.mean, rtol=1e-12)
    np.testing.assert_allclose(dropped.moments.scatter, wanted.scatter, atol=1e-9)
    left = pa.concat_tables(
        pq.ParquetFile(file).read(["path"]) for file in sorted((tmp_path / "features").iterdir())
    )
    assert left["path"].to_pylist() == [f"/{row:02}" for row in (1, 3, 4, 5, 6, 7, 8, 9, 11)]
    assert list(etags(f"{output}/rejected/part-0.parquet")) == ["/worse"]


def test_dropping_nothing_changes_nothing(tmp_path: Path) -> None:
    dropped = drops.drop(str(tmp_path / "none"), {})
    assert (dropped.rows, dropped.files, dropped.moments.n) == (0, frozenset(), 0)
    assert dropped.moments.mean.shape == (FEATURES,)
