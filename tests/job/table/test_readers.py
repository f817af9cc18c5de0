"""Readers of the table: pandas, Polars, DuckDB, Spark and plain Parquet always see the same photos."""

from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from job.table import commits, files, layout, schema, takeover, writer
from tests.support import delta_spark
from tests.support.tables import compact_table, counts, erase_photos, snapshot

pytestmark = pytest.mark.spark

Daily = Callable[..., dict[str, Any]]
MorePhotos = Callable[..., list[Path]]
COLUMNS: Final = pa.schema([*schema.PHOTOS, pa.field("outcome", pa.string())])


def expected(output: Path) -> list[dict[str, Any]]:
    """Return the rows of the files that the newest version names, in order of their paths."""
    rows = [
        {**row, "outcome": file.outcome}
        for file in snapshot(output).files.values()
        for row in files.read(files.location(str(output), file.path)).to_pylist()
    ]
    return in_order(rows)


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted([{name: row[name] for name in COLUMNS.names} for row in rows], key=itemgetter("path"))


def readings(output: Path) -> Iterator[tuple[str, pa.Table]]:
    """Yield the name of each reader of this process, and the table it reads."""
    table = str(output / "photos")
    uris = DeltaTable(table).file_uris()
    yield "pandas", pa.Table.from_pandas(DeltaTable(table).to_pandas(), preserve_index=False)
    yield "Polars", pl.read_delta(table).to_arrow()
    yield "Polars, lazily", pl.scan_delta(table).filter(pl.col("path") != "").collect().to_arrow()
    yield "DuckDB", duckdb.read_parquet(uris, hive_partitioning=True).to_arrow_table()
    plain = pd.read_parquet(table).astype({"outcome": str})  # correct only while no command runs
    yield "plain Parquet", pa.Table.from_pandas(plain, preserve_index=False)


def assert_readers_agree(output: Path) -> list[dict[str, Any]]:
    """Check that each reader sees the expected rows, and return these."""
    rows = expected(output)
    for name, table in readings(output):
        assert in_order(table.select(COLUMNS.names).cast(COLUMNS).to_pylist()) == rows, name
    return rows


def test_all_readers_see_the_same_photos_after_a_run_a_compaction_and_an_erasure(
    daily: Daily, more_photos: MorePhotos, tmp_path: Path
) -> None:
    out, photos = tmp_path / "out", more_photos(40)
    photos[0].write_bytes(b"no photo")
    assert counts(daily("--wave", 8, "--components", 3)) == (40, 0, 39, 1, 0)
    assert [row["path"] for row in assert_readers_agree(out)] == sorted(map(str, photos))
    assert compact_table(out)["files_after"] == {layout.FEATURIZED: 1, layout.REJECTED: 1}
    assert len(assert_readers_agree(out)) == 40
    erase_photos(out, photos[:3])
    rows = assert_readers_agree(out)
    assert [row["path"] for row in rows] == sorted(map(str, photos[3:]))
    assert in_order(delta_spark.read(out / "photos", COLUMNS.names)) == rows


def test_spark_sees_each_known_photo_exactly_once_while_commands_run(
    daily: Daily, more_photos: MorePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(writer, "COMMIT_SECONDS", 0)
    out, known = tmp_path / "out", more_photos(40)
    daily("--wave", 8, "--components", 3)
    with delta_spark.reading(out / "photos", [str(photo) for photo in known[3:]]) as reader:
        new = more_photos(200)
        for photo, other in zip(known[10:20], new, strict=False):
            photo.write_bytes(other.read_bytes())
        assert counts(daily("--wave", 8, "--components", 3)) == (240, 30, 210, 0, 0)
        reader.look()
        compact_table(out)
        reader.look()
        erase_photos(out, [*known[:3], *new[:3]])
        version = plant(out, twice=str(known[4]), missing=str(known[5]))
        report = reader.stop()
    planted = [f"1 twice: ['{known[4]}']", f"1 missing: ['{known[5]}']"]
    assert report.violations == [f"version {version}: {violation}" for violation in planted]
    assert len(report.versions) >= 4, "before, between and after the commands at least"


def plant(output: Path, twice: str, missing: str) -> int:
    """Commit a file that holds one photo twice and misses another; return the version."""
    current = snapshot(output)
    (old,) = current.files_of(layout.FEATURIZED)
    kept_rows = files.rows_without(files.location(str(output), old.path), [missing])
    repeated = kept_rows.filter(files.photo_mask(kept_rows, [twice]))
    path = layout.data_path(layout.FEATURIZED, current.writer, 0, 0)
    new = files.write(str(output), path, pa.concat_tables([kept_rows, repeated]))
    actions = [commits.add_action(new, True), commits.remove_action(old, True)]
    assert commits.write(str(output), current.version + 1, actions, {})
    return current.version + 1
