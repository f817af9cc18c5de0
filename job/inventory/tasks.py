"""What there is to do, cut into tasks of even size, as files that the workers read.

Tasks are a folder of small Parquet files in which **one row group is one task**, so that Spark moves only
task numbers to the workers, and no list of photos ever has to fit in the driver. What a task writes becomes
visible at once. The folder goes when the run ends.
"""

import io
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, groupby, islice
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from job.inventory import labels
from job.inventory.folders import ListedFile
from job.storage import store
from job.table import schema
from job.table.layout import DataFile

BYTES_PER_PHOTO: Final = 2**20  # what an inference costs, in bytes to read and decode
TASKS_PER_CORE: Final = 8  # a small input is cut finer, so that no core waits long for the last task,
LEAST_PER_TASK: Final = 16  # but not into crumbs
TASKS_PER_FILE: Final = 16  # about 1 MB, of which a worker reads one row group
BUFFER: Final = 51_200  # listed photos that are held to plan the last tasks: about 20 MB


class Photo(NamedTuple):
    """A photo to be judged, and the file of the table whose row of it is to be replaced, if there is one."""

    listed: ListedFile
    replaces: DataFile | None = None


@dataclass(frozen=True, slots=True)
class Tasks:
    """Where the tasks lie, how many photos there are, and how many tasks."""

    location: str
    photos: int
    tasks: int


def write(new: Iterable[ListedFile], changed: Iterable[Photo], location: str, cores: int, wave: int) -> Tasks:
    """Cut photos into tasks, and write these.

    Parameters
    ----------
    new : iterable of ListedFile
        Photos of which there is no row, in order of their paths; taken to its end before `changed` is begun.
    changed : iterable of Photo
        Photos that replace rows, file by file: all of a file are in one task.
    location : str
        Folder of the tasks; one that is there already is replaced.
    cores : int
        Tasks that can run at once.
    wave : int
        Most photos in a task; of large photos fewer. The changed photos of one file are never parted.
    """
    store.delete_tree(location)
    pieces = ([Photo(listed) for listed in piece] for piece in split_into_tasks(new, cores, wave))
    stream = chain(pieces, _whole_files(changed, wave))
    photos = tasks = 0
    while file := list(islice(stream, TASKS_PER_FILE)):
        store.write_bytes(_task_file(location, tasks // TASKS_PER_FILE), _task_file_bytes(file))
        photos += sum(len(piece) for piece in file)
        tasks += len(file)
    return Tasks(location, photos, tasks)


def read(location: str, task: int) -> pa.RecordBatch:
    """Return the rows of one task."""
    file, group = divmod(task, TASKS_PER_FILE)
    with store.open_input(_task_file(location, file)) as source:
        return next(pq.ParquetFile(source).iter_batches(2**31, row_groups=[group], use_threads=False))


def split_into_tasks(photos: Iterable[ListedFile], cores: int, wave: int) -> Iterator[list[ListedFile]]:
    """Cut a stream of photos into tasks, of even cost at its end and in whole rounds over the cores."""
    stream = iter(photos)
    most = wave * BYTES_PER_PHOTO
    ahead = deque(islice(stream, BUFFER))
    tasks, piece, cost = 0, list[ListedFile](), 0
    for photo in stream:  # there are more than the buffer holds: cut the first ones as they come
        ahead.append(photo)
        first = ahead.popleft()
        cost += _cost(first)
        if piece and cost > most:
            yield piece
            tasks, piece, cost = tasks + 1, [], _cost(first)
        piece.append(first)
    rest = [*piece, *ahead]
    if not rest:
        return
    costs = [_cost(photo) for photo in rest]
    needed = -(-sum(costs) // most)
    if not tasks:
        needed = max(needed, min(TASKS_PER_CORE * cores, len(rest) // LEAST_PER_TASK))
    number = -(-(tasks + needed) // cores) * cores - tasks
    # A photo is of the task in whose even share of the cost its middle lies.
    twice = 2 * sum(costs)
    shares = (
        (2 * until - own) * number // twice for until, own in zip(accumulate(costs), costs, strict=True)
    )
    for _, group in groupby(zip(shares, rest, strict=True), key=lambda pair: pair[0]):
        yield [photo for _, photo in group]


def _whole_files(changed: Iterable[Photo], wave: int) -> Iterator[list[Photo]]:
    """Cut photos that replace rows into tasks, each of whole files: a file is replaced by one commit."""
    piece, cost = list[Photo](), 0
    for file, group in groupby(changed, key=lambda photo: photo.replaces):
        photos = list(group)
        # The rows that stay are read and written again.
        more = sum(_cost(photo.listed) for photo in photos) + (2 * file.bytes if file else 0)
        if piece and cost + more > wave * BYTES_PER_PHOTO:
            yield piece
            piece, cost = [], 0
        piece, cost = piece + photos, cost + more
    if piece:
        yield piece


def _cost(photo: ListedFile) -> int:
    """Return what a photo costs, in bytes: its own, to read and decode, and a mebibyte for the inference."""
    return photo.bytes + BYTES_PER_PHOTO


def _task_file(location: str, number: int) -> str:
    return store.join(location, f"part-{number:05}.parquet")


def _task_file_bytes(tasks: list[list[Photo]]) -> bytes:
    """Return a file of one row group a task."""
    photos = [photo.listed for task in tasks for photo in task]
    names, splits = zip(*(labels.label_and_split(photo.path) for photo in photos), strict=True)
    columns = {
        "path": [photo.path for photo in photos],
        "label": names,
        "split": splits,
        "etag": [photo.etag for photo in photos],
        "bytes": [photo.bytes for photo in photos],
        "modified": [photo.modified for photo in photos],
        "replaces": [photo.replaces and photo.replaces.path for task in tasks for photo in task],
    }
    table = pa.table(columns, schema=schema.TASKS)
    sink = io.BytesIO()
    # Nobody filters this table, and no path is in it twice: statistics and a dictionary would be dead weight.
    repeating = ["label", "split", "replaces"]
    with pq.ParquetWriter(
        sink, table.schema, compression="zstd", use_dictionary=repeating, write_statistics=False
    ) as writer:
        start = 0
        for task in tasks:
            writer.write_table(table.slice(start, len(task)), row_group_size=len(task))
            start += len(task)
    return sink.getvalue()
