"""Measures (k), (l) and (m), comparison: compares a long list with a table of nearly the same photos.

``--make`` writes a list and a table of invented photos: 1,000 are new, 1,000 changed and 1,000 missing from
the list. A second process opens the table, without a checkpoint and with one, and takes the job's inventory,
without Spark. It times both, and counts the photos that the inventory gave a wrong role. ``python -m
scripts.bench.comparison FOLDER --rows N`` prints the figures as JSON.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from job.inventory import listing, tasks
from job.inventory.listing import Inventory, Source
from job.network import backbone
from job.table import commits, layout, path_lists, writer
from scripts.bench import synthetic_table
from scripts.bench.process import peak_bytes

PHOTOS_PER_ROLE: Final = 1000  # new, changed and removed ones
DAYS: Final = 10  # increments in which the known photos were added: the paths of their files overlap
PHOTOS_PER_TASK: Final = 1000
LISTED_AT_ONCE: Final = 1_000_000
FIRST_MODIFIED: Final = 1_767_225_600_000_000  # 2026-01-01, in microseconds
NEW, CHANGED, REMOVED, SAME = range(4)
BACKBONE: Final = backbone.name("litert")

Numbers = NDArray[np.int64]


def paths(numbers: Numbers) -> pa.Array:
    """Return the photos' paths; within a kind of fruit, they sort as the numbers do."""
    kinds = pc.utf8_lpad(pa.array(numbers % 131).cast(pa.string()), 3, "0")
    names = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 8, "0")
    return pc.binary_join_element_wise("/photos/Training/kind ", kinds, "/", names, "_100.jpg", "")


def roles(rows: int) -> NDArray[np.int8]:
    """Return the role of each photo, ``NEW``, ``CHANGED``, ``REMOVED`` or ``SAME``, for a list of `rows`."""
    photos = rows + PHOTOS_PER_ROLE
    period, position = np.divmod(np.arange(photos), photos // PHOTOS_PER_ROLE)
    has_role = (position <= REMOVED) & (period < PHOTOS_PER_ROLE)
    return np.where(has_role, position, SAME).astype(np.int8)


def make(folder: Path, rows: int, rows_per_file: int, files_per_commit: int) -> None:
    """Write ``list.parquet``, unsorted, and a table with one number as features."""
    photo_roles = roles(rows)
    folder.mkdir(parents=True)
    write_list(_list_file(folder), np.flatnonzero(photo_roles != REMOVED), photo_roles)
    known = np.flatnonzero(photo_roles != NEW)
    known = known[np.lexsort((known, known % 131))]  # as the paths sort
    days = (known[day::DAYS] for day in range(DAYS))
    parts = (
        day[start : start + rows_per_file] for day in days for start in range(0, len(day), rows_per_file)
    )
    synthetic_table.write(_output(folder), map(_rows, parts), files_per_commit)


def write_list(location: Path, numbers: Numbers, photo_roles: NDArray[np.int8]) -> None:
    """Write a ``--manifest`` of the photos with these numbers, in random order."""
    listed = np.random.default_rng(0).permutation(numbers)
    empty = pa.table(_facts(listed[:0], photo_roles))
    with pq.ParquetWriter(location, empty.schema) as file:
        for start in range(0, len(listed), LISTED_AT_ONCE):
            file.write_table(pa.table(_facts(listed[start : start + LISTED_AT_ONCE], photo_roles)))


def opening_figures(folder: Path) -> dict[str, Any]:
    """Open the table, write a checkpoint, open the table again; return the seconds of both openings."""
    output = _output(folder)

    def version_and_seconds() -> tuple[int, float]:
        start = time.monotonic()
        snapshot = commits.load(output)
        return snapshot.version if snapshot else -1, round(time.monotonic() - start, 3)

    version, seconds_without = version_and_seconds()
    commits.write_checkpoint(output)
    _, seconds_with = version_and_seconds()
    return {"commits": version, "opened": {"without": seconds_without, "with": seconds_with}}


def comparison_figures(folder: Path, rows: int, cores: int) -> dict[str, Any]:
    """Take the job's inventory of the list, and return its figures and the number of its mistakes."""
    output = _output(folder)
    source = Source((), output, manifest=str(_list_file(folder)))
    start = time.monotonic()
    with writer.exclusive_writer(
        output, "bench", "run", first_actions=synthetic_table.first_actions(output)
    ) as writing:
        inventory = listing.take_inventory(source, writing, BACKBONE, cores, PHOTOS_PER_TASK)
        seconds, peak = time.monotonic() - start, peak_bytes(os.getpid())
        return {
            "files": len(writing.snapshot.files),
            "new_or_changed": inventory.todo,
            "missing": inventory.missing,
            "mistakes": mistakes(inventory, output, rows),
            "seconds": round(seconds, 3),
            "peak_bytes": peak,
        }


def mistakes(inventory: Inventory, output: str, rows: int) -> int:
    """Return the number of photos that the inventory gave a wrong role."""
    judged: list[tuple[str, int]] = []
    for task in range(inventory.tasks.tasks):
        batch = tasks.read(inventory.tasks.location, task)
        photo_roles = (NEW if file is None else CHANGED for file in batch["replaces"].to_pylist())
        judged += zip(batch["path"].to_pylist(), photo_roles, strict=True)
    judged += ((path, REMOVED) for path in path_lists.read(output, layout.MISSING)["path"].to_pylist())
    actual = set(_actual_roles(rows))
    return (
        len(actual ^ set(judged))
        + len(judged)
        - len(set(judged))
        + abs(inventory.unchanged - (rows - 2 * PHOTOS_PER_ROLE))
    )


def _actual_roles(rows: int) -> Iterator[tuple[str, int]]:
    photo_roles = roles(rows)
    for role in (NEW, CHANGED, REMOVED):
        yield from ((path, role) for path in paths(np.flatnonzero(photo_roles == role)).to_pylist())


def _list_file(folder: Path) -> Path:
    return folder / "list.parquet"


def _output(folder: Path) -> str:
    return str(folder / "output")


def _facts(numbers: Numbers, photo_roles: NDArray[np.int8]) -> dict[str, pa.Array]:
    """Return the columns of a list of photos."""
    changed = photo_roles[numbers] == CHANGED
    return {
        "path": paths(numbers),
        "etag": _etags(numbers + np.where(changed, 2**40, 0)),
        "bytes": pa.array(5000 + numbers % 997),
        "modified": pa.array(FIRST_MODIFIED + numbers * 1_000_000).cast(pa.timestamp("us", tz="UTC")),
    }


def _rows(numbers: Numbers) -> pa.Table:
    """Return the photos' rows of the table; their etags are those before any change."""
    facts = _facts(numbers, np.full(numbers.max() + 1, SAME, np.int8))
    backbones = pa.repeat(BACKBONE, len(numbers))
    features = pa.array(np.zeros((len(numbers), 1), np.float32).tolist(), pa.list_(pa.float32()))
    return synthetic_table.rows(**facts, features=features, backbone=backbones)


def _etags(numbers: Numbers) -> pa.Array:
    """Return 32 hexadecimal digits for each number, different ones for different numbers."""
    factors = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)  # odd: no two products are equal
    digits = (numbers.astype(np.uint64)[:, None] * factors).tobytes().hex().encode()
    return pa.array(np.frombuffer(digits, "S32")).cast(pa.string())


def main() -> None:
    """Make the list and the table, or compare them and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Time the comparison of a long list.")
    add = parser.add_argument
    add("folder", type=Path)
    add("--rows", type=int, required=True, help="photos listed")
    add("--make", action="store_true", help="only make the list and the table")
    add("--rows-per-file", type=int, default=1000, help="of the table (default a wave's)")
    add("--files-per-commit", type=int, default=10, help="of the table's log (default 10)")
    add("--cores", type=int, default=1, help="the cores that Spark would have")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.make:
        make(folder, options.rows, options.rows_per_file, options.files_per_commit)
        print("{}")
    else:
        figures = opening_figures(folder) | comparison_figures(folder, options.rows, options.cores)
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
