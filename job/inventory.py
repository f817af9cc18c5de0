"""The first step: list the photos, label them, and cut them into tasks of even size.

The inventory is a folder of small Parquet files in which **one row group is one task**, so that Spark moves
only task numbers to the workers, and no list of photos ever has to fit in the driver.
"""

import heapq
import io
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from job import s3, store
from job.errors import DataError, UsageError

PHOTO_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp")
PHOTOS_PER_TASK: Final = 256
BYTES_PER_TASK: Final = 256 * 2**20
TASKS_PER_FILE: Final = 200  # so that a worker parses a footer of about 100 KB to find its row group
TASKS_PER_CORE: Final = 8  # a small input is cut finer: no core waits long for the last task


class Listed(NamedTuple):
    """One photo as its store lists it."""

    path: str
    bytes: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Inventory:
    """Where the list of photos lies, and its sums."""

    location: str
    photos: int
    skipped: int
    bytes: int
    tasks: int


def take(inputs: Iterable[str], location: str, cores: int, limit: int | None, without: str) -> Inventory:
    """List the photos of every input and write the inventory.

    Parameters
    ----------
    inputs : iterable of str
        Folders and ``s3://`` prefixes; a photo that two of them hold is listed once.
    location : str
        Folder of the inventory.
    cores : int
        Tasks that can run at once.
    limit : int or None
        Only the first so many photos, in order of their paths.
    without : str
        A location whose files are neither listed nor counted: the run's own output.

    Raises
    ------
    UsageError
        If an input is missing, or is not a folder.
    DataError
        If there is no photo.
    """
    skipped = 0

    def photos() -> Iterator[Listed]:
        nonlocal skipped
        last = None
        for listed in heapq.merge(*(_list(source, without) for source in inputs), key=lambda one: one.path):
            if listed.path == last:
                continue
            last = listed.path
            if listed.path.lower().endswith(PHOTO_ENDINGS):
                yield listed
            else:
                skipped += 1

    count = size = tasks = 0
    pieces = _cut(islice(photos(), limit), cores)
    for file_number in range(2**31):
        file = list(islice(pieces, TASKS_PER_FILE))
        if not file:
            break
        store.write_bytes(_file(location, file_number), _parquet(file))
        tasks += len(file)
        count += sum(len(piece) for piece in file)
        size += sum(photo.bytes for piece in file for photo in piece)
    if not count:
        raise DataError(f"no photos in {', '.join(inputs)}: none of {skipped:,} files ends in {PHOTO_ENDINGS}")
    return Inventory(location, count, skipped, size, tasks)


def read_task(location: str, task: int) -> list[dict[str, Any]]:
    """Return the rows of one task, as dictionaries with the inventory's columns."""
    file, group = divmod(task, TASKS_PER_FILE)
    with store.open_input(_file(location, file)) as source:
        rows: list[dict[str, Any]] = pq.ParquetFile(source).read_row_group(group).to_pylist()
    return rows


def label_and_split(path: str) -> tuple[str | None, str | None]:
    """Return the name of a photo's folder, and ``Training`` or ``Test`` if the folder above says so."""
    folders = path.removeprefix("s3://").split("/")[:-1]
    # The first part is a bucket's name, or the empty string before the root: neither is a folder.
    label = folders[-1] if len(folders) > 1 else None
    split = folders[-2] if len(folders) > 2 and folders[-2] in ("Training", "Test") else None
    return label, split


def _cut(photos: Iterable[Listed], cores: int) -> Iterator[list[Listed]]:
    """Cut a stream of photos into tasks; a short stream into a whole number of rounds over the cores."""
    stream = iter(photos)
    head = list(islice(stream, PHOTOS_PER_TASK * TASKS_PER_FILE))
    rounds = max(math.ceil(len(head) / (PHOTOS_PER_TASK * cores)), min(TASKS_PER_CORE, len(head) // (16 * cores)), 1)
    # A head that fills the buffer is the beginning of a long stream, for which a last round does not matter.
    short = len(head) < PHOTOS_PER_TASK * TASKS_PER_FILE
    most = math.ceil(len(head) / (rounds * cores)) if short else PHOTOS_PER_TASK
    piece: list[Listed] = []
    size = 0
    for photo in (one for part in (head, stream) for one in part):
        if piece and (len(piece) >= most or size + photo.bytes > BYTES_PER_TASK):
            yield piece
            piece, size = [], 0
        piece.append(photo)
        size += photo.bytes
    if piece:
        yield piece


def _list(source: str, without: str) -> Iterator[Listed]:
    if store.is_s3(source):
        for name, size, etag, modified in s3.list_objects(source):
            if not name.endswith("/") and not name.startswith(without + "/"):
                assert isinstance(modified, datetime)
                yield Listed(name, size, etag, modified)
        return
    if not Path(source).exists():
        raise UsageError(f"input {source} does not exist: check the path")
    if not Path(source).is_dir():
        raise UsageError(f"input {source} is a file: name the folder it is in")
    yield from _walk(source, without, set())


def _walk(folder: str, without: str, seen: set[tuple[int, int]]) -> Iterator[Listed]:
    """List a folder in order of the full paths, each real folder once (links can make circles)."""
    status = os.stat(folder)  # noqa: PTH116
    if folder == without or (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry.name + "/" * entry.is_dir(), entry) for entry in found)
    except PermissionError:
        raise UsageError(f"folder {folder} may not be read: check its permissions") from None
    for name, entry in entries:
        if name.endswith("/"):
            yield from _walk(entry.path, without, seen)
            continue
        try:
            file = entry.stat()
        except FileNotFoundError:  # a link to nothing, or deleted since: fetch will say that it is gone
            file = entry.stat(follow_symlinks=False)
        modified = datetime.fromtimestamp(file.st_mtime, UTC)
        yield Listed(entry.path, file.st_size, f"{file.st_mtime_ns:x}-{file.st_size:x}", modified)


def _file(location: str, number: int) -> str:
    return store.join(location, f"part-{number:05}.parquet")


def _parquet(tasks: list[list[Listed]]) -> bytes:
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, store.INVENTORY_SCHEMA, compression="zstd") as writer:
        for task in tasks:
            paths = [store.printable(photo.path) for photo in task]
            labels, splits = zip(*(label_and_split(path) for path in paths), strict=True)
            table = pa.table(
                {
                    "path": paths,
                    "label": labels,
                    "split": splits,
                    "etag": [photo.etag for photo in task],
                    "bytes": [photo.bytes for photo in task],
                    "modified": [photo.modified for photo in task],
                },
                schema=store.INVENTORY_SCHEMA,
            )
            writer.write_table(table, row_group_size=len(task))
    return sink.getvalue()
