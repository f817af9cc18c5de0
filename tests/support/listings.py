"""Photos to list, in folders, in S3 or made up; tables that know some of them; inventories, read back."""

import tempfile
from collections.abc import Iterable, Mapping
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
# What a name may hold that some layer between a folder and a table could take for something else.
ODD: Final = (
    *("two words", "é", "e\u0301", "it's", 'say "x"', "100%", "%20", "a%2Fb", "#1", "a=b&c+d", "what?"),
    *("[x]{y}", "*", "back\\slash", "\\udcff", "line\nbreak", "tab\t", "~", "🍎", " lead and trail ", "-rf"),
    *("file:", "s3:", "\x01\x1b\x7f", "\ud7ff", "\ue000", "\uffff", "$retry", "null", "Z", "x" * 200),
)


class Row(NamedTuple):
    """What a table knows of a photo."""

    path: str
    etag: str | None = "e"
    bytes: int = 5
    modified: datetime | None = NOON
    backbone: str | None = NETWORK


def listed(path: str, etag: str = "e", size: int = 5, modified: datetime | None = NOON) -> ListedFile:
    """Return a photo as it is listed: the one that a row of that path is of."""
    return ListedFile(path, size, etag, modified)


def known(output: Path | str, photos: Mapping[str, Iterable[Row | str]]) -> Snapshot:
    """Write files of a table, of rows or of paths of rows, and return the table that consists of them."""
    snapshot = Snapshot()
    for file, some in photos.items():
        rows = [row if isinstance(row, Row) else Row(row) for row in some]
        columns = {name: [getattr(row, name, None) for row in rows] for name in schema.PHOTOS.names}
        snapshot.files[file] = files.write(str(output), file, pa.table(columns, schema=schema.PHOTOS))
    return snapshot


def temporary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which this process makes temporary ones from now on."""
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
    """Take an inventory for an output, which knows a table or nothing yet, and read all of its rows back."""
    source = Source(tuple(str(one) for one in inputs), str(without), limit)
    writer = Writer(str(to), "a run", "run")
    writer.snapshot = table or Snapshot()
    taken = listing.take_inventory(source, writer, NETWORK, cores, most_photos)
    return taken, rows_of(taken) if read else []


def rows_of(taken: Inventory) -> list[dict[str, Any]]:
    """Return the photos of all tasks, in their order."""
    todo = taken.tasks
    return [row for task in range(todo.tasks) for row in tasks.read(todo.location, task).to_pylist()]


def sizes(taken: Inventory) -> list[int]:
    """Return how many photos each task has."""
    return [tasks.read(taken.tasks.location, task).num_rows for task in range(taken.tasks.tasks)]


def made_up(monkeypatch: pytest.MonkeyPatch, count: int, size: int = 5_000) -> None:
    """Let ``s3://made-up`` hold so many photos."""
    photos = (
        (f"s3://made-up/Training/apple/{number:09}.jpg", size, f"{number:032x}", NOON)
        for number in range(count)
    )
    other, mine = s3.list_objects, "s3://made-up"
    monkeypatch.setattr(
        s3, "list_objects", lambda place, *more: photos if place == mine else other(place, *more)
    )
