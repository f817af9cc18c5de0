"""The first step: list the photos, label them, and cut them into tasks of even size.

The inventory is a folder of small Parquet files in which **one row group is one task**, so that Spark moves
only task numbers to the workers, and no list of photos ever has to fit in the driver.
"""

import heapq
import io
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain, groupby, islice
from operator import attrgetter
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from job import s3, store
from job.errors import DataError, JobError, UsageError
from job.walk import Listed, walk

PHOTO_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp")
# A task is full with so many small photos, or with so many bytes of large ones, or with a share of each.
PHOTOS_PER_TASK: Final = 256
BYTES_PER_TASK: Final = 256 * 2**20
TASKS_PER_CORE: Final = 8  # a small input is cut finer, so that no core waits long for the last task,
LEAST_PER_TASK: Final = 16  # but not into crumbs
TASKS_PER_FILE: Final = 32  # about 300 KB, which a worker reads with one request
BUFFER: Final = 51_200  # listed photos that are held to plan the last tasks: about 20 MB


@dataclass(frozen=True, slots=True)
class Inventory:
    """Where the list of photos lies, and its sums."""

    location: str
    photos: int
    skipped: int
    bytes: int
    tasks: int


def check(inputs: Iterable[str], without: str) -> None:
    """Make sure that there is something to read before anything is written, or deleted to make room.

    Raises
    ------
    UsageError, DataError
        As :func:`take` does.
    """
    sources = tuple(inputs)
    # Each is opened, so that the first does not hide what is wrong with the others.
    listings = [_list(one, without, set()) for one in sources]
    opened = [listed for listed in (next(listing, None) for listing in listings) if listed is not None]
    skipped = 0
    for listed in chain(opened, *listings):
        if _is_photo(listed):
            return
        skipped += 1
    raise _no_photos(sources, skipped)


def take(inputs: Iterable[str], location: str, cores: int, limit: int | None, without: str) -> Inventory:
    """List the photos of every input and write the inventory.

    Parameters
    ----------
    inputs : iterable of str
        Folders and ``s3://`` prefixes; a photo that two of them hold is listed once.
    location : str
        Folder of the inventory; one that is there already is replaced.
    cores : int
        Tasks that can run at once.
    limit : int or None
        Only the first so many photos, in order of their paths.
    without : str
        A location whose files are neither listed nor counted: the run's own output.

    Raises
    ------
    UsageError
        If an input is missing, is not a folder, may not be read, or lies in `without`.
    DataError
        If there is no photo.
    """
    skipped = 0
    sources = tuple(inputs)
    seen: set[str] = set()

    def photos() -> Iterator[Listed]:
        nonlocal skipped
        last = ""
        for listed in heapq.merge(*(_list(one, without, seen) for one in sources), key=attrgetter("path")):
            if listed.path == last:
                continue
            if listed.path < last:
                raise JobError(
                    f"{listed.path} is listed out of order: S3 directory buckets cannot be an input"
                )
            last = listed.path
            if _is_photo(listed):
                yield listed
            else:
                skipped += 1

    store.delete_tree(location)
    count = size = tasks = 0
    pieces = _cut(islice(photos(), limit), cores)
    while file := list(islice(pieces, TASKS_PER_FILE)):
        store.write_bytes(_file(location, tasks // TASKS_PER_FILE), _parquet(file))
        tasks += len(file)
        count += sum(len(piece) for piece in file)
        size += sum(photo.bytes for piece in file for photo in piece)
    if not count:
        raise _no_photos(sources, skipped)
    return Inventory(location, count, skipped, size, tasks)


def read_task(location: str, task: int) -> pa.RecordBatch:
    """Return the rows of one task, with the inventory's columns."""
    file, group = divmod(task, TASKS_PER_FILE)
    with store.open_input(_file(location, file)) as source:
        return next(pq.ParquetFile(source).iter_batches(2**31, row_groups=[group], use_threads=False))


def label_and_split(path: str) -> tuple[str | None, str | None]:
    """Return the name of a photo's folder, and ``Training`` or ``Test`` if the folder above says so."""
    return _label_and_split(path.rpartition("/")[0])


def _is_photo(listed: Listed) -> bool:
    return listed.regular and listed.path[-5:].lower().endswith(PHOTO_ENDINGS)


def _no_photos(sources: tuple[str, ...], skipped: int) -> DataError:
    endings = ", ".join(PHOTO_ENDINGS)
    return DataError(f"no photos in {', '.join(sources)}: none of {skipped:,} files ends in {endings}")


@lru_cache(maxsize=1024)
def _label_and_split(folder: str) -> tuple[str | None, str | None]:
    # The first part is a bucket's name, or the empty string before the root: neither is a folder.
    names = folder.removeprefix("s3://").split("/")[1:]
    # A name that is not UTF-8 cannot stand in a table.
    label = names[-1].encode("utf-8", "backslashreplace").decode() if names else None
    split = names[-2] if len(names) > 1 and names[-2] in ("Training", "Test") else None
    return label or None, split


def _list(source: str, without: str, seen: set[str]) -> Iterator[Listed]:
    """List an input in order of the paths."""
    if not store.is_s3(source):
        yield from walk(source, without, seen)
        return
    own = f"{without}/"
    if f"{source}/".startswith(own):
        raise UsageError(f"input {source} is in the output {without}: choose another --output")
    nothing = True
    for name, size, etag, modified in s3.list_objects(source):
        nothing = False
        if name.startswith(own) or (not size and name.endswith("/")):  # what stands for a folder in S3
            continue
        yield Listed(name, size, etag, modified)  # type: ignore[arg-type]
    if nothing:
        raise DataError(f"nothing in {source}: check the bucket and the prefix")


def _cut(photos: Iterable[Listed], cores: int) -> Iterator[list[Listed]]:
    """Cut a stream of photos into tasks, of even cost at its end and in whole rounds over the cores."""
    stream = iter(photos)
    ahead = deque(islice(stream, BUFFER))
    tasks, piece, cost = 0, list[Listed](), 0
    for photo in stream:  # there are more than the buffer holds: cut the first ones as they come
        ahead.append(photo)
        first = ahead.popleft()
        cost += _cost(first)
        if piece and cost > BYTES_PER_TASK:
            yield piece
            tasks, piece, cost = tasks + 1, [], _cost(first)
        piece.append(first)
    rest = [*piece, *ahead]
    if not rest:
        return
    costs = [_cost(photo) for photo in rest]
    needed = -(-sum(costs) // BYTES_PER_TASK)
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


def _cost(photo: Listed) -> int:
    """Return what a photo costs, in bytes: its own, to read and decode, and a mebibyte for the inference."""
    return photo.bytes + BYTES_PER_TASK // PHOTOS_PER_TASK


def _file(location: str, number: int) -> str:
    return store.join(location, f"part-{number:05}.parquet")


def _parquet(tasks: list[list[Listed]]) -> bytes:
    """Return a file of one row group a task."""
    photos = [photo for task in tasks for photo in task]
    labels, splits = zip(*(label_and_split(photo.path) for photo in photos), strict=True)
    columns = {
        "path": [store.printable(photo.path) for photo in photos],
        "label": labels,
        "split": splits,
        "etag": [photo.etag for photo in photos],
        "bytes": [photo.bytes for photo in photos],
        "modified": [photo.modified for photo in photos],
    }
    table = pa.table(columns, schema=store.INVENTORY_SCHEMA)
    sink = io.BytesIO()
    # Nobody filters this table, and no path is in it twice: statistics and a dictionary would be dead weight.
    with pq.ParquetWriter(
        sink, table.schema, compression="zstd", use_dictionary=["label", "split"], write_statistics=False
    ) as writer:
        start = 0
        for task in tasks:
            writer.write_table(table.slice(start, len(task)), row_group_size=len(task))
            start += len(task)
    return sink.getvalue()
