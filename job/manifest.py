"""``--manifest``: the photos as a list tells them, in place of a listing; ``inventory`` cuts them into tasks.

Rows pass as Arrow columns: they are gathered into runs of bounded size and sorted; several runs wait in
unlinked temporary files for their merge. So a list may be as long as the disk is large, and need not be in
any order: S3 Inventory promises none.
"""

import contextlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import reduce
from tempfile import TemporaryFile
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from job.manifest_files import batches, find
from job.manifest_rows import check, encoded
from job.walk import Listed

RUN_BYTES: Final = 32 * 2**20  # some 300,000 rows; sorting takes three times that for a moment
BLOCK_ROWS: Final = 8_192  # of each run that are at hand for the merge, about a MB
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def read(
    location: str, inputs: tuple[str, ...], admit: Callable[[str], object] = lambda _: None
) -> Iterator[Listed]:
    """Yield what a list names, in order of the paths, each path once: as it was modified last.

    Of rows of one path and one time, or none, the last listed counts. Versions that are not the latest,
    delete markers and the empty objects that stand for folders are left out. Keys are taken to the letter,
    other paths as on the command line; nobody looks whether the photos are there.

    Parameters
    ----------
    location : str
        A Parquet or CSV file, a folder of them, or the ``manifest.json`` of an S3 Inventory.
    inputs : tuple of str
        Only what is below one of these, if there are any.
    admit : callable
        Called once with each ``s3://bucket`` that the list or a photo in it is in, before anything there
        is read or yielded; may raise.

    Raises
    ------
    UsageError
        If there is no such list, or it lacks a column.
    DataError
        If a file is damaged, or a row cannot be a photo's; with the file and the row, counted from 1
        without the header.
    JobError
        If S3 fails.
    """
    admitted: set[str] = set()

    def admit_once(bucket: str) -> None:
        if bucket not in admitted:
            admit(bucket)
            admitted.add(bucket)

    with contextlib.ExitStack() as files:
        runs = [_spill(run, files) for run in _runs(_rows(location, inputs, admit_once))]
        for piece in _merged(runs):
            yield from _listed(piece)


def _rows(location: str, inputs: tuple[str, ...], admit: Callable[[str], None]) -> Iterator[pa.RecordBatch]:
    folders = [encoded(f"{one.rstrip('/')}/") for one in inputs]
    for file in find(location, admit):
        before = 0
        for batch in batches(file):
            rows = check(batch, file, before)
            before += batch.num_rows
            if folders:
                below = (pc.starts_with(rows["path"], folder) for folder in folders)
                rows = rows.filter(reduce(pc.or_, below))
            rows = rows.filter(pc.invert(_stand_for_folders(rows)))
            _admit(rows["path"], admit)
            yield rows


def _stand_for_folders(rows: pa.RecordBatch) -> pa.Array:
    return pc.and_(pc.ends_with(rows["path"], b"/"), pc.equal(rows["bytes"], 0))


def _admit(paths: pa.Array, admit: Callable[[str], None]) -> None:
    rest = paths.filter(pc.starts_with(paths, b"s3://"))
    while len(rest):
        bucket = b"/".join(rest[0].as_py().split(b"/")[:3])
        admit(bucket.decode())
        rest = rest.filter(pc.invert(pc.starts_with(rest, bucket + b"/")))


def _runs(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Gather rows into runs, each in order and of distinct paths."""
    held, size = list[pa.RecordBatch](), 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= RUN_BYTES:
            yield _in_order(held)
            size = 0
    if held:
        yield _in_order(held)


def _in_order(held: list[pa.RecordBatch]) -> pa.Table:
    """Sort rows, leave of each path the one modified last, and forget them where they were."""
    table = pa.Table.from_batches(held).combine_chunks()
    held.clear()
    # A stable sort: what was listed last stays last.
    order = [("path", "ascending", "at_end"), ("modified", "ascending", "at_start")]
    table = table.take(pc.sort_indices(table, order))
    paths = table["path"].combine_chunks()
    last = pa.concat_arrays([pc.not_equal(paths[:-1], paths[1:]), pa.array([True])])
    return table if pc.all(last).as_py() else table.filter(last)


def _spill(run: pa.Table, files: contextlib.ExitStack) -> Iterator[pa.RecordBatch]:
    """Put a run into a file without a name, and return its rows to come."""
    file = files.enter_context(TemporaryFile())  # noqa: SIM115 (the stack closes it)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(pa.PythonFile(file, "w"), run.schema, options=options) as writer:
        writer.write_table(run, BLOCK_ROWS)
    file.seek(0)
    return iter(pa.ipc.open_stream(file))


def _merged(runs: list[Iterator[pa.RecordBatch]]) -> Iterator[pa.Table]:
    """Merge runs, a block of each at a time: up to the first end of a block, all rows are at hand."""
    heads = {number: head for number, run in enumerate(runs) if (head := next(run, None)) is not None}
    while heads:
        until = min(head["path"][-1].as_py() for head in heads.values())
        piece = []
        for number, head in list(heads.items()):
            rows = _rank(head["path"], until)
            piece.append(head[:rows])
            rest = head[rows:] if rows < head.num_rows else next(runs[number], None)
            if rest is None:
                del heads[number]
            else:
                heads[number] = rest
        yield _in_order(piece)


def _rank(paths: pa.Array, path: bytes) -> int:
    """Return how many of some sorted paths come before another, or are it."""
    return bisect_right(range(len(paths)), path, key=lambda row: paths[row].as_py())


def _listed(rows: pa.Table) -> Iterator[Listed]:
    for batch in rows.to_batches(BLOCK_ROWS):
        paths = (path.decode("utf-8", "surrogatepass") for path in batch["path"].to_pylist())
        # Spans from NumPy: Arrow's own objects, or a time zone for each, cost more than all the rest.
        spans = batch["modified"].cast(pa.int64()).cast(pa.duration("us")).to_numpy(zero_copy_only=False)
        moments = (None if span is None else EPOCH + span for span in spans.tolist())
        yield from map(Listed, paths, batch["bytes"].to_pylist(), batch["etag"].to_pylist(), moments)
