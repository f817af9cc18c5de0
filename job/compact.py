"""``job compact``: the many small files that daily increments leave become few; nothing else changes.

Neighbours in order of their first paths are merged, in features with their part of the matrix, which is not
projected again; the moments are not summed up again. Only files that moments and matrix are of are merged:
what a stopped run has left is the next run's. Whoever is stopped, ``journal`` brings the work to its end.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from job import arguments, coverage, csv_lines, journal, output, residency, rewrite, store, tables, traces
from job.coverage import Matrix
from job.journal import Group
from job.lock import Held
from job.log import Log
from job.store import Stored

ROWS: Final = 10_000
FILES_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Compaction:
    """What is to be compacted, and how many rows a file may have then."""

    output: str
    rows: int = ROWS
    regions: tuple[str, ...] = arguments.EU_REGIONS


class Small(NamedTuple):
    """A file that can be merged: its first path (``""`` without rows), its rows, and what it is."""

    first: str
    rows: int
    name: str
    version: str


def run(compaction: Compaction, compaction_id: str, log: Log) -> dict[str, Any]:
    """Compact, and return the files of each table before and after.

    Raises
    ------
    JobError
        If the output is none of ours, is elsewhere, or is being written to.
    """
    place = compaction.output
    residency.check([place], compaction.regions)
    traces.check_ours(place)
    with output.opened(place, compaction_id, "compact", lambda text: log.info("lock", text)) as held:
        before = _count(place)
        groups, waiting = _features(place, compaction.rows, compaction_id, held)
        groups += _rejected(place, compaction.rows, compaction_id, held)
        if groups:
            held.check()
            journal.write(place, groups)
            journal.finish(place)
        after = _count(place)
    return {"output": place, "files_before": before, "files_after": after, "files_of_no_run": waiting}


def summary(done: Mapping[str, Any]) -> str:
    """Return the closing text of a compaction."""
    before, after = done["files_before"], done["files_after"]
    lines = [f"{name}: {before[name]:,} files are {after[name]:,} now" for name in before]
    if before == after:
        lines = ["nothing to do: there are no small files to merge"]
    if done["files_of_no_run"]:
        lines.append(
            f"{done['files_of_no_run']:,} files of features are of a run that has not ended, and left alone: "
            "run the job first"
        )
    return "\n".join(lines)


def grouped(files: Iterable[Small], most: int) -> Iterator[list[Small]]:
    """Group small files in order of their first paths; a file of half of `most` rows or more is not small."""
    group: list[Small] = []
    rows = 0
    for file in sorted(files, key=attrgetter("first", "name")):
        if 2 * file.rows >= most:
            continue
        if rows + file.rows > most:
            if len(group) > 1:
                yield group
            group, rows = [], 0
        group.append(file)
        rows += file.rows
    if len(group) > 1:
        yield group


def _features(place: str, most: int, compaction_id: str, held: Held) -> tuple[list[Group], int]:
    """Merge files of features and of the matrix; return the groups, and how many files have to wait."""
    stored = list(store.list_stored(store.join(place, store.FEATURES_TABLE), ".parquet"))
    sums, matrix = coverage.load_sums(place), coverage.load_matrix(place)
    of_matrix = {
        f"{table}/{name.rpartition('/')[2]}"
        for table in (store.PCA_TABLE, store.PCA_CSV_TABLE)
        for name, _ in store.list_files(store.join(place, table))
    }
    settled = [
        file for file in stored if sums is not None and _is_covered(file, sums.files, matrix, of_matrix)
    ]
    by_stem: dict[str, list[str]] = {}
    for name in sorted(of_matrix):
        by_stem.setdefault(name.rsplit(".", 2)[0], []).append(name)
    groups: list[Group] = []
    for number, files in enumerate(grouped(_small(settled), most)):
        held.check()
        target = tables.part_name(number, compaction_id)
        whole = _merged(place, store.FEATURES_TABLE, [file.name for file in files])
        if pc.count_distinct(whole["path"]).as_py() < len(whole):
            continue  # what an interrupted run has left twice is the next run's to choose from
        merged = {
            f"{store.FEATURES_TABLE}/{target}": [f"{store.FEATURES_TABLE}/{file.name}" for file in files]
        }
        _stage(place, f"{store.FEATURES_TABLE}/{target}", tables.parquet(whole))
        names = [tables.matrix_names(file.name, matrix.model_id) for file in files]
        for new, old in zip(
            tables.matrix_names(target, matrix.model_id), zip(*names, strict=True), strict=True
        ):
            table = new.partition("/")[0]
            _stage(place, new, _merged_matrix(place, table, old))
            # With them goes what a fit that was interrupted has made of the same files.
            stems = [f"{table}/{file.name.removesuffix('.parquet')}" for file in files]
            merged[new] = [name for stem in stems for name in by_stem[stem]]
        groups.append(Group(merged, target, {file.name: file.version for file in files}))
    return groups, len(stored) - len(settled)


def _rejected(place: str, most: int, compaction_id: str, held: Held) -> list[Group]:
    table = store.REJECTED_TABLE
    groups = []
    stored = store.list_stored(store.join(place, table), ".parquet")
    for number, files in enumerate(grouped(_small(list(stored)), most)):
        held.check()
        whole = _merged(place, table, [file.name for file in files])
        if pc.count_distinct(whole["path"]).as_py() == len(whole):
            target = f"{table}/{tables.part_name(number, compaction_id)}"
            _stage(place, target, tables.parquet(whole))
            groups.append(Group({target: [f"{table}/{file.name}" for file in files]}))
    return groups


def _is_covered(file: Stored, sums: Mapping[str, str], matrix: Matrix, of_matrix: set[str]) -> bool:
    """Tell whether moments and matrix are of a file as it is."""
    name = file.location.rpartition("/")[2]
    version, _ = matrix.files.get(name, ("", 0))
    made = of_matrix.issuperset(tables.matrix_names(name, matrix.model_id))
    return sums.get(name) == version == file.version and made


def _small(files: list[Stored]) -> list[Small]:
    """Return of each file its first path and its rows."""

    def look(file: Stored) -> Small:
        with store.open_columns(file.location, file.bytes) as source:
            parquet = pq.ParquetFile(source)
            first = pc.min(parquet.read(["path"], use_threads=False)["path"]).as_py()
            return Small(
                first or "", parquet.metadata.num_rows, file.location.rpartition("/")[2], file.version
            )

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return list(pool.map(look, files))


def _merged(place: str, table: str, names: Iterable[str]) -> pa.Table:
    """Return the rows of files together, in order of their paths."""
    parts = [rewrite.read(store.join(place, table, name)) for name in names]
    return pa.concat_tables(parts).sort_by("path")


def _merged_matrix(place: str, table: str, names: Iterable[str]) -> bytes:
    """Return parts of the matrix as one file, in order of their paths."""
    if table == store.PCA_TABLE:
        return tables.parquet(_merged(place, table, (name.partition("/")[2] for name in names)))
    parts = [csv_lines.read(store.read_bytes(store.join(place, name))) for name in names]
    return csv_lines.joined(parts[0].heading, sorted(record for part in parts for record in part.records))


def _stage(place: str, name: str, data: bytes) -> None:
    store.write_bytes(journal.staged(place, name), data)


def _count(place: str) -> dict[str, int]:
    return {
        table: sum(1 for _ in store.list_files(store.join(place, table), ".parquet"))
        for table in (store.FEATURES_TABLE, store.REJECTED_TABLE)
    }
