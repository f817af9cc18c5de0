"""Which rows of the table are of some photos: ``erase`` takes out what is found here, ``show`` tells it.

Of each file only what is compared is read, and of one whose statistics rule it out nothing.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from job.storage import store
from job.table import files, layout
from job.table.commits import Snapshot
from job.table.layout import DataFile

FILES_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Selection:
    """Photos: by path, by how the path begins, letter by letter, and by the hash of the content."""

    paths: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    sha256: frozenset[str] = frozenset()

    def kinds(self) -> list[str]:
        """Return in which ways something is selected."""
        kinds = {"path": self.paths, "prefix": self.prefixes, "sha256": self.sha256}
        return [name for name, values in kinds.items() if values]

    def by_path(self, paths: pa.ChunkedArray) -> pa.ChunkedArray:
        """Tell which paths are selected as such."""
        chosen = pc.is_in(paths, value_set=pa.array(sorted(self.paths), pa.string()))
        for prefix in self.prefixes:
            for begins in {prefix, _unprintable(prefix)}:
                chosen = pc.or_(chosen, pc.starts_with(paths, begins))
        return chosen

    def by_content(self, hashes: pa.ChunkedArray) -> pa.ChunkedArray:
        """Tell which hashes are selected."""
        return pc.fill_null(pc.is_in(hashes, value_set=pa.array(sorted(self.sha256), pa.string())), False)

    def may_be_in(self, group: pq.RowGroupMetaData) -> bool:
        """Tell whether the statistics of a row group leave room for a row that is selected."""
        statistics = group.column(0).statistics
        if self.prefixes or self.sha256 or statistics is None or not statistics.has_min_max:
            return True
        return any(statistics.min <= path <= statistics.max for path in self.paths)


@dataclass(frozen=True, slots=True)
class Found:
    """Photos of the table that are of a selection: their paths, by the table's files, and their hashes."""

    paths_of: dict[str, list[str]] = field(default_factory=dict)
    sha256: set[str] = field(default_factory=set)

    def rows(self, outcome: str) -> int:
        """Return how many of the photos are ``featurized`` or ``rejected``."""
        return sum(len(paths) for file, paths in self.paths_of.items() if layout.outcome_of(file) == outcome)

    def paths(self) -> set[str]:
        """Return the photos."""
        return {path for paths in self.paths_of.values() for path in paths}


def find(output: str, snapshot: Snapshot, selection: Selection) -> Found:
    """Return the photos of a selection."""
    found = Found()
    every = sorted(snapshot.files.values())
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        for file, (paths, hashes) in zip(
            every, pool.map(lambda file: _find_in(output, file, selection), every), strict=True
        ):
            if paths:
                found.paths_of[file.path] = paths
                found.sha256.update(hashes)
    return found


def _find_in(output: str, file: DataFile, selection: Selection) -> tuple[list[str], list[str]]:
    """Return the paths of a file's selected rows, and their hashes."""
    with store.open_columns(files.location(output, file.path), file.bytes) as source:
        parquet = pq.ParquetFile(source, pre_buffer=True)
        groups = range(parquet.num_row_groups)
        some = [number for number in groups if selection.may_be_in(parquet.metadata.row_group(number))]
        table = parquet.read_row_groups(some, ["path", "sha256"], use_threads=False)
    chosen = pc.or_(selection.by_path(table["path"]), selection.by_content(table["sha256"]))
    mine = table.filter(chosen)
    return mine["path"].to_pylist(), mine["sha256"].drop_null().to_pylist()


def _unprintable(prefix: str) -> str:
    """Return how a path that no table can hold begins if the file's own begins with `prefix`."""
    return "file://" + quote(os.fsencode(prefix))
