"""Where an output holds something of a photo: the rows of every table, file by file.

``erase`` takes out what is found here, ``show`` tells it. Of each file only what is compared is read, and of
one whose statistics rule it out nothing; inventories have none, and a table of text has to be read whole.
"""

import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from job import csv_lines, store
from job.errors import UsageError
from job.store import Stored

FILES_AT_ONCE: Final = 16
# With the ending of a table's files. What is found of a photo in features leads to it everywhere else.
TABLES: Final = {
    store.FEATURES_TABLE: ".parquet",
    store.REJECTED_TABLE: ".parquet",
    store.PCA_TABLE: ".parquet",
    store.PCA_CSV_TABLE: ".csv",
    store.INVENTORY: ".parquet",
}


@dataclass(frozen=True, slots=True)
class Selection:
    """Photos: by path, by how the path begins, letter by letter, and by the hash of the content."""

    paths: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    sha256: frozenset[str] = frozenset()

    def kinds(self) -> list[str]:
        """Return in which ways something is selected."""
        said = {"path": self.paths, "prefix": self.prefixes, "sha256": self.sha256}
        return [name for name, values in said.items() if values]

    def by_path(self, paths: pa.ChunkedArray) -> pa.ChunkedArray:
        """Tell which paths are selected as such."""
        chosen = pc.is_in(paths, value_set=pa.array(sorted(self.paths), pa.string()))
        for prefix in self.prefixes:
            for begins in {prefix, _unprintable(prefix)}:
                chosen = pc.or_(chosen, pc.starts_with(paths, begins))
        return chosen

    def by_content(self, hashes: pa.ChunkedArray) -> pa.ChunkedArray:
        """Tell which hashes are selected."""
        return pc.is_in(hashes, value_set=pa.array(sorted(self.sha256), pa.string()))

    def may_be_in(self, group: pq.RowGroupMetaData) -> bool:
        """Tell whether the statistics of a row group leave room for a row that is selected."""
        path = group.column(0)
        known = path.statistics if path.path_in_schema == "path" else None
        if self.prefixes or self.sha256 or known is None or not known.has_min_max:
            return True
        return any(known.min <= one <= known.max for one in self.paths)

    def with_paths(self, paths: Iterable[str]) -> "Selection":
        """Return this selection with paths in the place of hashes."""
        return Selection(self.paths.union(paths), self.prefixes)


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of the photos of a selection.

    Attributes
    ----------
    rows : dict
        By file below the output (``features/part-….parquet``) the paths of the rows, one for each.
    sha256 : set of str
        Hashes of those in features.
    """

    rows: dict[str, list[str]] = field(default_factory=dict)
    sha256: set[str] = field(default_factory=set)

    def of(self, table: str) -> dict[str, list[str]]:
        """Return what was found in the files of one table."""
        return {file: paths for file, paths in self.rows.items() if file.startswith(f"{table}/")}

    def counts(self) -> dict[str, int]:
        """Return rows by table."""
        return {table: sum(map(len, self.of(table).values())) for table in TABLES}

    def paths(self) -> set[str]:
        """Return the photos."""
        return {path for paths in self.rows.values() for path in paths}


def check_ours(output: str) -> None:
    """Make sure that a place is an output of this job.

    Raises
    ------
    UsageError
        If it holds no claim.
    """
    try:
        said = json.loads(store.read_bytes(store.join(output, store.CLAIM)))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        said = None
    if not isinstance(said, dict):
        raise UsageError(f"{output} is no output of this job (there is no {store.CLAIM}): check --output")


def find(output: str, selection: Selection, tables: Iterable[str] = tuple(TABLES)) -> Found:
    """Return the rows of the photos of a selection, in some tables or in all."""
    found = Found()
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        if selection.sha256:
            files = _files(output, store.FEATURES_TABLE)
            hits = pool.map(lambda file: _of_content(file, selection), files)
            selection = selection.with_paths(path for paths in hits for path in paths)
        for table in tables:
            files = _files(output, table)
            for file, (paths, hashes) in zip(
                files, pool.map(lambda one: _of(one, selection), files), strict=True
            ):
                found.sha256.update(hashes)
                if paths:
                    found.rows[file.location.removeprefix(f"{output.rstrip('/')}/")] = paths
    return found


def copies(output: str, hashes: set[str]) -> int:
    """Return how many rows of features have one of some hashes."""
    same = Selection(sha256=frozenset(hashes))
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return sum(
            map(len, pool.map(lambda file: _of_content(file, same), _files(output, store.FEATURES_TABLE)))
        )


def drafts(output: str) -> Iterator[str]:
    """Yield what a command that was killed while it wrote to a folder has left beside the tables' files."""
    if store.is_s3(output):
        return
    for table in store.OURS:
        for folder, _, names in os.walk(store.join(output, table)):
            yield from (
                f"{folder}/{name}" for name in names if name.startswith(".") and name.endswith(".draft")
            )


def _files(output: str, table: str) -> list[Stored]:
    return list(store.list_stored(store.join(output, table), TABLES[table]))


def columns(file: Stored, names: list[str], selection: Selection) -> pa.Table:
    """Return some columns of a Parquet file, of no rows if its statistics know none of the paths wanted.

    Columns that the file does not have are left out.
    """
    with store.open_columns(file.location, file.bytes) as source:
        parquet = pq.ParquetFile(source, pre_buffer=True)
        there = [name for name in names if name in parquet.schema_arrow.names]
        groups = range(parquet.num_row_groups)
        some = [number for number in groups if selection.may_be_in(parquet.metadata.row_group(number))]
        return parquet.read_row_groups(some, there, use_threads=False)


def _of(file: Stored, selection: Selection) -> tuple[list[str], list[str]]:
    """Return the paths of a file's selected rows, and the hashes if it has such."""
    if file.location.endswith(".csv"):
        records = csv_lines.read(store.read_bytes(file.location)).records
        table = pa.table({"path": pa.array([path for path, _ in records], pa.string())})
    else:
        table = columns(file, ["path", "sha256"], selection)
    chosen = table.filter(selection.by_path(table["path"]))
    hashes = chosen["sha256"].drop_null().to_pylist() if "sha256" in chosen.schema.names else []
    return chosen["path"].to_pylist(), hashes


def _of_content(file: Stored, selection: Selection) -> list[str]:
    table = columns(file, ["path", "sha256"], Selection(sha256=selection.sha256))
    paths: list[str] = table.filter(selection.by_content(table["sha256"]))["path"].to_pylist()
    return paths


def _unprintable(prefix: str) -> str:
    """Return how a path that no table can hold begins if the file's own begins with `prefix`."""
    return "file://" + quote(os.fsencode(prefix))
