"""Photos to list, in folders, in S3 or made up, and inventories of outputs that hold nothing read back."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from job import inventory, s3, tasks
from job.compare import Comparison
from job.inventory import Inventory, Source
from job.known import Known

NOON: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)


def make(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(file.encode())


def put(bucket: str, *keys: str) -> None:
    for key in keys:
        s3.client(bucket).put_object(Bucket=bucket, Key=key, Body=key.encode())


def nothing_known() -> Comparison:
    """Return the comparison with an output that is not there."""
    return Comparison(Known("/nowhere", "a network"))


def take(
    *inputs: object,
    to: Path | str,
    cores: int = 2,
    limit: int | None = None,
    without: object = "/nowhere",
    wave: int = 256,
) -> tuple[Inventory, list[dict[str, Any]]]:
    """Take an inventory for an output that holds nothing yet, and read all of its rows back."""
    source = Source(tuple(str(one) for one in inputs), str(without), limit)
    taken = inventory.take(source, f"{to}/inventory", cores, wave, nothing_known())
    return taken, rows_of(taken)


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
    monkeypatch.setattr(s3, "list_objects", lambda _: photos)
