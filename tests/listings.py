"""Photos to list, in folders, in S3 or made up, and inventories read back."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from job import inventory, s3

NOON: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)


def make(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(file.encode())


def put(bucket: str, *keys: str) -> None:
    for key in keys:
        s3.client(bucket).put_object(Bucket=bucket, Key=key, Body=key.encode())


def take(
    *inputs: object, to: Path | str, cores: int = 2, limit: int | None = None, without: object = "/nowhere"
) -> tuple[inventory.Inventory, list[dict[str, Any]]]:
    """Take an inventory, and read all of its rows back."""
    taken = inventory.take([str(one) for one in inputs], f"{to}/inventory", cores, limit, str(without))
    rows = [
        row for task in range(taken.tasks) for row in inventory.read_task(taken.location, task).to_pylist()
    ]
    return taken, rows


def sizes(taken: inventory.Inventory) -> list[int]:
    """Return how many photos each task has."""
    return [inventory.read_task(taken.location, task).num_rows for task in range(taken.tasks)]


def made_up(monkeypatch: pytest.MonkeyPatch, count: int, size: int = 5_000) -> None:
    """Let ``s3://made-up`` hold so many photos."""
    photos = (
        (f"s3://made-up/Training/apple/{number:09}.jpg", size, f"{number:032x}", NOON)
        for number in range(count)
    )
    monkeypatch.setattr(s3, "list_objects", lambda _: photos)
