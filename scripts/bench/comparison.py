"""Measures (k), (l) and (m): compares a long list with a table of nearly the same photos, without Spark.

``--make`` writes a list and a table of invented photos: 1,000 are new, 1,000 changed and 1,000 missing from
the list. A second process opens the table, without a checkpoint and with one, and takes the job's inventory.
It times both, and counts the photos that the inventory judged wrongly. ``python -m scripts.bench.comparison
FOLDER --rows N`` prints the figures as JSON.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
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

EACH: Final = 1000  # photos of each role: new, changed, removed
DAYS: Final = 10  # increments in which the known photos were added: the paths of their files overlap
PHOTOS_PER_TASK: Final = 1000
LISTED_AT_ONCE: Final = 1_000_000
SINCE: Final = 1_767_225_600_000_000  # 2026-01-01, in microseconds
NEW, CHANGED, REMOVED, SAME = range(4)
BACKBONE: Final = backbone.name("litert")

Numbers = NDArray[np.int64]


def paths(numbers: Numbers) -> pa.Array:
    """Return the paths of photos; within a kind, they sort as their numbers do."""
    kinds = pc.utf8_lpad(pa.array(numbers % 131).cast(pa.string()), 3, "0")
    names = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 8, "0")
    return pc.binary_join_element_wise("/photos/Training/kind ", kinds, "/", names, "_100.jpg", "")


def roles(rows: int) -> NDArray[np.int8]:
    """Return the role of each photo, ``NEW``, ``CHANGED``, ``REMOVED`` or ``SAME``, for a list of `rows`."""
    period, at = np.divmod(np.arange(rows + EACH), (rows + EACH) // EACH)
    return np.where((at <= REMOVED) & (period < EACH), at, SAME).astype(np.int8)


def make(folder: Path, rows: int, rows_per_file: int, files_per_commit: int) -> None:
    """Write ``list.parquet``, unsorted, and a table with one number as features."""
    role_of = roles(rows)
    listed = np.random.default_rng(0).permutation(np.flatnonzero(role_of != REMOVED))
    folder.mkdir(parents=True)
    first = pa.table(_facts(listed[:0], role_of))
    with pq.ParquetWriter(_list(folder), first.schema) as file:
        for start in range(0, len(listed), LISTED_AT_ONCE):
            file.write_table(pa.table(_facts(listed[start : start + LISTED_AT_ONCE], role_of)))
    known = np.flatnonzero(role_of != NEW)
    known = known[np.lexsort((known, known % 131))]  # as the paths sort
    days = (known[day::DAYS] for day in range(DAYS))
    parts = (
        day[start : start + rows_per_file] for day in days for start in range(0, len(day), rows_per_file)
    )
    synthetic_table.write(_output(folder), map(_rows, parts), files_per_commit)


def open_twice(folder: Path) -> dict[str, Any]:
    """Return the seconds to open the table without a checkpoint, and with one, which it writes between."""
    output = _output(folder)

    def opened() -> tuple[int, float]:
        start = time.monotonic()
        snapshot = commits.load(output)
        return snapshot.version if snapshot else -1, round(time.monotonic() - start, 3)

    version, without = opened()
    commits.write_checkpoint(output)
    return {"commits": version, "opened": {"without": without, "with": opened()[1]}}


def compare(folder: Path, rows: int, cores: int) -> dict[str, Any]:
    """Take the job's inventory of the list, and return its figures and the number of its mistakes."""
    output = _output(folder)
    source = Source((), output, manifest=str(_list(folder)))
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
    """Return how many photos the inventory gave another role than theirs."""
    judged: list[tuple[str, int]] = []
    for task in range(inventory.tasks.tasks):
        batch = tasks.read(inventory.tasks.location, task)
        kinds = (NEW if file is None else CHANGED for file in batch["replaces"].to_pylist())
        judged += zip(batch["path"].to_pylist(), kinds, strict=True)
    judged += ((path, REMOVED) for path in path_lists.read(output, layout.MISSING)["path"].to_pylist())
    actual = set(_actual_roles(rows))
    return (
        len(actual ^ set(judged))
        + len(judged)
        - len(set(judged))
        + abs(inventory.unchanged - (rows - 2 * EACH))
    )


def _actual_roles(rows: int) -> Iterator[tuple[str, int]]:
    role_of = roles(rows)
    for role in (NEW, CHANGED, REMOVED):
        yield from ((path, role) for path in paths(np.flatnonzero(role_of == role)).to_pylist())


def _list(folder: Path) -> Path:
    return folder / "list.parquet"


def _output(folder: Path) -> str:
    return str(folder / "output")


def _facts(numbers: Numbers, role_of: NDArray[np.int8]) -> dict[str, pa.Array]:
    """Return the columns of a list of photos."""
    changed = role_of[numbers] == CHANGED
    return {
        "path": paths(numbers),
        "etag": _etags(numbers + np.where(changed, 2**40, 0)),
        "bytes": pa.array(5000 + numbers % 997),
        "modified": pa.array(SINCE + numbers * 1_000_000).cast(pa.timestamp("us", tz="UTC")),
    }


def _rows(numbers: Numbers) -> pa.Table:
    """Return the photos' rows of the table, with etags from before any change."""
    facts = _facts(numbers, np.full(numbers.max() + 1, SAME, np.int8))
    backbone = pa.repeat(BACKBONE, len(numbers))
    features = pa.array(np.zeros((len(numbers), 1), np.float32).tolist(), pa.list_(pa.float32()))
    return synthetic_table.rows(**facts, features=features, backbone=backbone)


def _etags(numbers: Numbers) -> pa.Array:
    """Return 32 hexadecimal digits for each number; different numbers have different ones."""
    factors = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)  # odd: no two products are equal
    digits = (numbers.astype(np.uint64)[:, None] * factors).tobytes().hex().encode()
    return pa.array(np.frombuffer(digits, "S32")).cast(pa.string())


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the list and the table, or compare them and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Time the comparison of a long list.")
    add = parser.add_argument
    add("folder", type=Path)
    add("--rows", type=int, required=True, help="photos listed")
    add("--make", action="store_true", help="only make what is compared")
    add("--rows-per-file", type=int, default=1000, help="of the table that is made (default a task's)")
    add("--files-per-commit", type=int, default=10, help="of its log (default 10)")
    add("--cores", type=int, default=1, help="as many as Spark would have")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    if options.make:
        make(folder, options.rows, options.rows_per_file, options.files_per_commit)
        print("{}")
        return 0
    print(json.dumps({**open_twice(folder), **compare(folder, options.rows, options.cores)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
