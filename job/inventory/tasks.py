"""Divide the photos to be processed into tasks of even cost, and write these as files for the workers.

Tasks are small Parquet files in which **one row group is one task**. Spark sends only task numbers, and the
driver never holds a list of all photos. The folder is deleted when the run ends.
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
from job.inventory.folder_listing import ListedFile
from job.storage import store
from job.table import schema
from job.table.layout import DataFile

BYTES_PER_PHOTO: Final = 2**20  # the cost of an inference, in bytes to read and decode
TASKS_PER_CORE: Final = 8  # small inputs get small tasks, so that no core waits long for the last one,
LEAST_PER_TASK: Final = 16  # but with at least so many photos each
TASKS_PER_FILE: Final = 16  # about 1 MB; a worker reads one row group
BUFFER: Final = 51_200  # photos held in memory to balance the last tasks: about 20 MB


class Photo(NamedTuple):
    """A photo to be processed, and the data file that holds its old row, if there is one."""

    listed: ListedFile
    replaces: DataFile | None = None


@dataclass(frozen=True, slots=True)
class Tasks:
    """The folder of the tasks, and the numbers of photos and tasks."""

    location: str
    photos: int
    tasks: int


def write(
    new: Iterable[ListedFile], changed: Iterable[Photo], location: str, cores: int, most_photos: int
) -> Tasks:
    """Divide photos into tasks, and write these.

    Parameters
    ----------
    new : iterable of ListedFile
        Photos without a row, sorted by path; read to the end before `changed`.
    changed : iterable of Photo
        Photos that replace rows, sorted by data file; those of one data file are in one task.
    location : str
        Folder of the tasks; it is replaced if it exists.
    cores : int
        Number of tasks that can run at once.
    most_photos : int
        Most photos in a task, fewer if they are large. Changed photos of one data file stay together.
    """
    store.delete_tree(location)
    new_tasks = ([Photo(listed) for listed in photos] for photos in split_into_tasks(new, cores, most_photos))
    stream = chain(new_tasks, _whole_files(changed, most_photos))
    photo_count = task_count = 0
    while batch := list(islice(stream, TASKS_PER_FILE)):
        store.write_bytes(_task_file(location, task_count // TASKS_PER_FILE), _task_file_bytes(batch))
        photo_count += sum(len(task) for task in batch)
        task_count += len(batch)
    return Tasks(location, photo_count, task_count)


def read(location: str, task: int) -> pa.RecordBatch:
    """Return the rows of one task."""
    file, group = divmod(task, TASKS_PER_FILE)
    with store.open_input(_task_file(location, file)) as source:
        return next(pq.ParquetFile(source).iter_batches(2**31, row_groups=[group], use_threads=False))


def split_into_tasks(
    photos: Iterable[ListedFile], cores: int, most_photos: int
) -> Iterator[list[ListedFile]]:
    """Divide photos into a multiple of `cores` tasks; the last ones have even costs."""
    stream = iter(photos)
    most = most_photos * BYTES_PER_PHOTO
    ahead = deque(islice(stream, BUFFER))
    tasks, piece, cost = 0, list[ListedFile](), 0
    for photo in stream:  # more than the buffer holds: the first ones fill tasks as they come
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
    # A photo belongs to the task whose share of the total cost contains the middle of the photo's own.
    twice = 2 * sum(costs)
    shares = (
        (2 * until - own) * number // twice for until, own in zip(accumulate(costs), costs, strict=True)
    )
    for _, group in groupby(zip(shares, rest, strict=True), key=lambda pair: pair[0]):
        yield [photo for _, photo in group]


def _whole_files(changed: Iterable[Photo], most_photos: int) -> Iterator[list[Photo]]:
    """Divide changed photos into tasks without splitting a data file, which one commit must replace."""
    piece, cost = list[Photo](), 0
    for file, group in groupby(changed, key=lambda photo: photo.replaces):
        photos = list(group)
        # The other rows of the file are read and written again.
        more = sum(_cost(photo.listed) for photo in photos) + (2 * file.bytes if file else 0)
        if piece and cost + more > most_photos * BYTES_PER_PHOTO:
            yield piece
            piece, cost = [], 0
        piece, cost = piece + photos, cost + more
    if piece:
        yield piece


def _cost(photo: ListedFile) -> int:
    """Return a photo's cost in bytes: its size, for reading and decoding, and a mebibyte for inference."""
    return photo.bytes + BYTES_PER_PHOTO


def _task_file(location: str, number: int) -> str:
    return store.join(location, f"part-{number:05}.parquet")


def _task_file_bytes(tasks: list[list[Photo]]) -> bytes:
    """Return a Parquet file with one row group per task."""
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
    # The file is never filtered and paths do not repeat, so statistics and their dictionary are left out.
    repeating = ["label", "split", "replaces"]
    with pq.ParquetWriter(
        sink, table.schema, compression="zstd", use_dictionary=repeating, write_statistics=False
    ) as writer:
        start = 0
        for task in tasks:
            writer.write_table(table.slice(start, len(task)), row_group_size=len(task))
            start += len(task)
    return sink.getvalue()
