"""The search for photos in the table, by path, prefix or content hash: the first step of erase and show.

It reads only the compared columns, and skips row groups that Parquet's statistics rule out.
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
    """The photos that a user selects: by path, by a prefix of the path, or by the SHA-256 of the content."""

    paths: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    sha256: frozenset[str] = frozenset()

    def kinds(self) -> list[str]:
        """Return which of ``path``, ``prefix`` and ``sha256`` select something."""
        values_of_kind = {"path": self.paths, "prefix": self.prefixes, "sha256": self.sha256}
        return [kind for kind, values in values_of_kind.items() if values]

    def path_mask(self, paths: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return, for each path, whether it is selected by path or prefix."""
        mask = pc.is_in(paths, value_set=pa.array(sorted(self.paths), pa.string()))
        for prefix in self.prefixes:
            for form in {prefix, _quoted_prefix(prefix)}:
                mask = pc.or_(mask, pc.starts_with(paths, form))
        return mask

    def hash_mask(self, hashes: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return, for each SHA-256, whether it is selected."""
        return pc.fill_null(pc.is_in(hashes, value_set=pa.array(sorted(self.sha256), pa.string())), False)

    def may_match(self, group: pq.RowGroupMetaData) -> bool:
        """Tell whether a row group can hold a selected photo, by the minimum and maximum of its paths."""
        statistics = group.column(0).statistics
        if self.prefixes or self.sha256 or statistics is None or not statistics.has_min_max:
            return True
        return any(statistics.min <= path <= statistics.max for path in self.paths)


@dataclass(frozen=True, slots=True)
class Matches:
    """The selected photos in the table: their paths for each file of the table, and their hashes."""

    paths_by_file: dict[str, list[str]] = field(default_factory=dict)
    sha256: set[str] = field(default_factory=set)

    def rows(self, outcome: str) -> int:
        """Return the number of photos with an outcome, ``featurized`` or ``rejected``."""
        return sum(
            len(paths) for file, paths in self.paths_by_file.items() if layout.outcome_of(file) == outcome
        )

    def paths(self) -> set[str]:
        """Return the paths of all the photos."""
        return {path for paths in self.paths_by_file.values() for path in paths}


def find_photos(output: str, snapshot: Snapshot, selection: Selection) -> Matches:
    """Return the photos of a table that are selected."""
    matches = Matches()
    data_files = sorted(snapshot.files.values())
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        for file, (paths, hashes) in zip(
            data_files, pool.map(lambda file: _matches_in(output, file, selection), data_files), strict=True
        ):
            if paths:
                matches.paths_by_file[file.path] = paths
                matches.sha256.update(hashes)
    return matches


def _matches_in(output: str, file: DataFile, selection: Selection) -> tuple[list[str], list[str]]:
    """Return the paths and the hashes of a file's selected rows."""
    with store.open_columns(files.location(output, file.path), file.bytes) as source:
        parquet = pq.ParquetFile(source, pre_buffer=True)
        numbers = range(parquet.num_row_groups)
        groups = [number for number in numbers if selection.may_match(parquet.metadata.row_group(number))]
        table = parquet.read_row_groups(groups, ["path", "sha256"], use_threads=False)
    mask = pc.or_(selection.path_mask(table["path"]), selection.hash_mask(table["sha256"]))
    selected = table.filter(mask)
    return selected["path"].to_pylist(), selected["sha256"].drop_null().to_pylist()


def _quoted_prefix(prefix: str) -> str:
    """Return `prefix` in the percent-encoded form that the table holds of paths that are not UTF-8."""
    return "file://" + quote(os.fsencode(prefix))
