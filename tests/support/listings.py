"""Photos to list, in folders, in S3 or invented; tables of known photos; inventories, read back."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pytest

from job.inventory import listing, tasks
from job.inventory.folder_listing import ListedFile
from job.inventory.listing import Inventory, Source
from job.storage import s3
from job.table import files, schema
from job.table.commits import Snapshot
from job.table.writer import Writer

NOON: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)
NETWORK: Final = "network-1"
# Files of a table, in their order.
ONE: Final = "outcome=featurized/part-1.parquet"
TWO: Final = "outcome=featurized/part-2.parquet"
BAD: Final = "outcome=rejected/part-1.parquet"
# Names that some layer between a folder and a table could misread.
ODD: Final = (
    *("two words", "é", "e\u0301", "it's", 'say "x"', "100%", "%20", "a%2Fb", "#1", "a=b&c+d", "what?"),
    *("[x]{y}", "*", "back\\slash", "\\udcff", "line\nbreak", "tab\t", "~", "🍎", " lead and trail ", "-rf"),
    *("file:", "s3:", "\x01\x1b\x7f", "\ud7ff", "\ue000", "\uffff", "$retry", "null", "Z", "x" * 200),
)


class Row(NamedTuple):
    """The columns of a known photo that an inventory compares."""

    path: str
    etag: str | None = "e"
    bytes: int = 5
    modified: datetime | None = NOON
    backbone: str | None = NETWORK


def listed(path: str, etag: str = "e", size: int = 5, modified: datetime | None = NOON) -> ListedFile:
    """Return the listed photo that a :class:`Row` of the same path describes."""
    return ListedFile(path, size, etag, modified)


def known(output: Path | str, photos: Mapping[str, Iterable[Row | str]]) -> Snapshot:
    """Write files of rows, each given whole or by its path, and return the table of these files."""
    snapshot = Snapshot()
    for file, photos_of_file in photos.items():
        rows = [row if isinstance(row, Row) else Row(row) for row in photos_of_file]
        columns = {name: [getattr(row, name, None) for row in rows] for name in schema.PHOTOS.names}
        snapshot.files[file] = files.write(str(output), file, pa.table(columns, schema=schema.PHOTOS))
    return snapshot


def temporary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder for this process's temporary files, and return it."""
    (folder / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
    return folder / "temporary"


def bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def put(bucket: str, *keys: str) -> None:
    for key in keys:
        s3.client(bucket).put_object(Bucket=bucket, Key=key, Body=key.encode())


def take(
    *inputs: object,
    to: Path | str,
    cores: int = 2,
    limit: int | None = None,
    without: object = "/nowhere",
    most_photos: int = 256,
    table: Snapshot | None = None,
    read: bool = True,
) -> tuple[Inventory, list[dict[str, Any]]]:
    """Take an inventory for an output, with or without a table, and return it and the rows of its tasks."""
    source = Source(tuple(map(str, inputs)), str(without), limit)
    writer = Writer(str(to), "a run", "run")
    writer.snapshot = table or Snapshot()
    inventory = listing.take_inventory(source, writer, NETWORK, cores, most_photos)
    return inventory, rows_of(inventory) if read else []


def rows_of(inventory: Inventory) -> list[dict[str, Any]]:
    """Return the photos of all tasks, in their order."""
    return [row for batch in _batches(inventory) for row in batch.to_pylist()]


def sizes(inventory: Inventory) -> list[int]:
    """Return the number of photos of each task."""
    return [batch.num_rows for batch in _batches(inventory)]


def _batches(inventory: Inventory) -> Iterator[pa.RecordBatch]:
    todo = inventory.tasks
    return (tasks.read(todo.location, task) for task in range(todo.tasks))


def made_up(monkeypatch: pytest.MonkeyPatch, count: int, size: int = 5_000) -> None:
    """Let listings of ``s3://made-up`` return `count` photos."""
    photos = (
        (f"s3://made-up/Training/apple/{number:09}.jpg", size, f"{number:032x}", NOON)
        for number in range(count)
    )
    list_objects = s3.list_objects

    def list_photos(location: str, *options: Any) -> Iterable[Any]:
        return photos if location == "s3://made-up" else list_objects(location, *options)

    monkeypatch.setattr(s3, "list_objects", list_photos)
