"""``job compact``: the many small files that daily increments leave become few; no row changes.

Neighbours in order of their first paths are merged, each group by one commit. A merged file of features is
projected again, by the same model, before it is committed; the moments stay what they are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from job.cli.arguments import EU_REGIONS
from job.cli.log import Log
from job.maths.pca import Pca
from job.model import incremental_moments, projection, saved_model
from job.storage import residency, store
from job.table import claim, files, layout, sweep, writer
from job.table.commits import Snapshot
from job.table.layout import DataFile
from job.table.writer import Writer

ROWS: Final = 10_000
FILES_AT_ONCE: Final = 16
OUTCOMES: Final = (layout.FEATURIZED, layout.REJECTED)


def run(
    output: str,
    log: Log,
    rows: int = ROWS,
    keep_versions: float = 0,
    regions: Sequence[str] = EU_REGIONS,
) -> dict[str, Any]:
    """Compact to files of at most so many rows, and return the table's files before and after.

    Raises
    ------
    JobError
        If the output is none of ours, is elsewhere, or is being written to.
    """
    residency.check([output], regions)
    with writer.exclusive_writer(
        output,
        log.run_id,
        "compact",
        lambda table: claim.admit_existing(output, table),
        lambda text: log.info("waiting", text),
        keep_versions,
    ) as writing:
        before = _count(writing.snapshot)
        current = saved_model.load(output, sweep.current_model_id(output))
        for outcome in OUTCOMES:
            _compact(writing, outcome, rows, current[0] if current else None)
        after = _count(writing.snapshot)
    return {"output": output, "files_before": before, "files_after": after}


def summary(done: Mapping[str, Any]) -> str:
    """Return the closing text of a compaction."""
    before, after = done["files_before"], done["files_after"]
    if before == after:
        return "nothing to do: there are no small files to merge"
    return "\n".join(f"{name}: {before[name]:,} files are {after[name]:,} now" for name in before)


def grouped(found: Iterable[tuple[str, DataFile]], most: int) -> Iterator[list[DataFile]]:
    """Group small files, each with its first path, in order of these; half of `most` rows are not small."""
    group: list[DataFile] = []
    rows = 0
    for _, file in sorted(found, key=itemgetter(0, 1)):
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


def _compact(writing: Writer, outcome: str, most: int, model: Pca | None) -> None:
    output = writing.output
    every = writing.snapshot.files_of(outcome)
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        firsts = list(pool.map(lambda file: _first_path(output, file), every))
    names: dict[str, str] = {}
    merged: list[DataFile] = []
    for number, group in enumerate(grouped(zip(firsts, every, strict=True), most)):
        parts = [files.read(files.location(output, file.path)) for file in group]
        path = layout.data_path(outcome, writing.number, number, 0)
        file = files.write(output, path, pa.concat_tables(parts))
        if outcome == layout.FEATURIZED and model is not None:
            projection.project(output, file.path, model)
        writing.commit(add=[file], remove=[old.path for old in group], data_change=False)
        names |= {old.path: file.path for old in group}
        merged.append(file)
    if outcome == layout.FEATURIZED and merged:
        incremental_moments.renamed(output, names, merged)


def _first_path(output: str, file: DataFile) -> str:
    with store.open_columns(files.location(output, file.path), file.bytes) as source:
        paths = pq.ParquetFile(source).read(["path"], use_threads=False)["path"]
    return pc.min(paths).as_py() or ""


def _count(snapshot: Snapshot) -> dict[str, int]:
    return {outcome: len(snapshot.files_of(outcome)) for outcome in OUTCOMES}
