"""``job compact``: merges the many small files that daily runs leave into few; no row changes.

Each group of neighbouring small files, in path order, becomes one file by one commit. A merged file of
features is projected and classified by the current models before its commit; the moments only record the new
file names.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from job.cli.log import Log
from job.model import incremental_moments, predictions, projection, saved_classifier, saved_model
from job.storage import residency, store
from job.storage.residency import EU_REGIONS
from job.table import files, layout, sweep, writer
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
    """Merge small files into files of at most `rows` rows, and return the numbers of files before and after.

    Raises
    ------
    JobError
        If the output was not made by this job, is outside `regions`, or is being written to.
    """
    residency.check([output], regions)
    with writer.exclusive_writer(
        output,
        log.run_id,
        "compact",
        lambda text: log.info("waiting", text),
        keep_versions,
    ) as writing:
        before = _file_counts(writing.snapshot)
        for outcome in OUTCOMES:
            _merge_small_files(writing, outcome, rows, _derive(output))
        after = _file_counts(writing.snapshot)
    return {"output": output, "files_before": before, "files_after": after}


def summary(result: Mapping[str, Any]) -> str:
    """Return the closing text of a compaction."""
    before, after = result["files_before"], result["files_after"]
    if before == after:
        return "nothing to do: there are no small files to merge"
    return "\n".join(f"{name}: {before[name]:,} files are {after[name]:,} now" for name in before)


def groups_to_merge(keyed_files: Iterable[tuple[str, DataFile]], most: int) -> Iterator[list[DataFile]]:
    """Group the files of fewer than ``most / 2`` rows into groups of at most `most` rows.

    Each file comes with its first path, which gives the order.
    """
    group: list[DataFile] = []
    rows = 0
    for _, file in sorted(keyed_files, key=itemgetter(0, 1)):
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


def _derive(output: str) -> Callable[[str], None]:
    """Return a function that writes the matrix and the predictions of a file of features."""
    saved = saved_model.load(output, sweep.current_model_id(output))
    classified = sweep.current_classifier(output)[1]
    classifier = saved_classifier.load(output) if classified else None

    def derive(path: str) -> None:
        if saved:
            projection.project_file(output, path, saved[0])
        if classifier:
            predictions.write_file(output, path, classifier, classified)

    return derive


def _merge_small_files(writing: Writer, outcome: str, most: int, derive: Callable[[str], None]) -> None:
    output = writing.output
    data_files = writing.snapshot.files_of(outcome)
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        first_paths = list(pool.map(lambda file: _first_path(output, file), data_files))
    names: dict[str, str] = {}
    merged: list[DataFile] = []
    for number, group in enumerate(groups_to_merge(zip(first_paths, data_files, strict=True), most)):
        parts = [files.read(files.location(output, file.path)) for file in group]
        path = layout.data_path(outcome, writing.number, number, 0)
        file = files.write(output, path, pa.concat_tables(parts))
        if outcome == layout.FEATURIZED:
            derive(file.path)
        writing.commit(add=[file], remove=[old.path for old in group], data_change=False)
        names |= {old.path: file.path for old in group}
        merged.append(file)
    if outcome == layout.FEATURIZED and merged:
        incremental_moments.rename_files(output, names, merged)


def _first_path(output: str, file: DataFile) -> str:
    with store.open_columns(files.location(output, file.path), file.bytes) as source:
        paths = pq.ParquetFile(source).read(["path"], use_threads=False)["path"]
    return pc.min(paths).as_py() or ""


def _file_counts(snapshot: Snapshot) -> dict[str, int]:
    return {outcome: len(snapshot.files_of(outcome)) for outcome in OUTCOMES}
