"""The comparison alone: a long list against a table that knows nearly all of it, without Spark.

``--make`` makes both, of photos that nobody has: of every so many one is new, one changed, and one is known
and not listed. Then, in a process of its own, the table is opened, without a checkpoint and with one, and
what the job does before Spark starts is done, timed, and checked: exactly those photos must be found. Run by
``bench``: ``python -m scripts.bench.comparison FOLDER --rows N`` prints its figures as JSON.
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
from job.table import claim, commits, missing, writer
from scripts.bench import synthetic_table
from scripts.bench.process import peak_bytes

EACH: Final = 1000  # new photos; as many changed, and as many removed
DAYS: Final = 10  # increments that the known photos came in: their files overlap
WAVE: Final = 1000
LISTED_AT_ONCE: Final = 1_000_000
SINCE: Final = 1_767_225_600_000_000  # 2026-01-01, in microseconds
NEW, CHANGED, REMOVED, SAME = range(4)
BACKBONE: Final = backbone.name("litert")

Numbers = NDArray[np.int64]


def paths(numbers: Numbers) -> pa.Array:
    """Return the paths of photos; they sort as their numbers do within a kind."""
    kinds = pc.utf8_lpad(pa.array(numbers % 131).cast(pa.string()), 3, "0")
    names = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 8, "0")
    return pc.binary_join_element_wise("/photos/Training/kind ", kinds, "/", names, "_100.jpg", "")


def roles(rows: int) -> NDArray[np.int8]:
    """Tell of each photo what is special about it beside a list of `rows`, if anything is."""
    period, at = np.divmod(np.arange(rows + EACH), (rows + EACH) // EACH)
    return np.where((at <= REMOVED) & (period < EACH), at, SAME).astype(np.int8)


def make(folder: Path, rows: int, rows_per_file: int, files_per_commit: int) -> None:
    """Write ``list.parquet``, in no order, and a table whose features are one number each."""
    special = roles(rows)
    listed = np.random.default_rng(0).permutation(np.flatnonzero(special != REMOVED))
    folder.mkdir(parents=True)
    first = pa.table(_facts(listed[:0], special))
    with pq.ParquetWriter(_list(folder), first.schema) as file:
        for start in range(0, len(listed), LISTED_AT_ONCE):
            file.write_table(pa.table(_facts(listed[start : start + LISTED_AT_ONCE], special)))
    known = np.flatnonzero(special != NEW)
    known = known[np.lexsort((known, known % 131))]  # as the paths sort
    days = (known[day::DAYS] for day in range(DAYS))
    parts = (
        day[start : start + rows_per_file] for day in days for start in range(0, len(day), rows_per_file)
    )
    synthetic_table.write(_output(folder), map(_rows, parts), files_per_commit)


def open_twice(folder: Path) -> dict[str, Any]:
    """Return the seconds that opening the table takes: without a checkpoint, which is made then, and with."""
    output = _output(folder)

    def opened() -> tuple[int, float]:
        start = time.monotonic()
        found = commits.load(output)
        return found.version if found else -1, round(time.monotonic() - start, 3)

    version, without = opened()
    commits.write_checkpoint(output)
    return {"commits": version, "opened": {"without": without, "with": opened()[1]}}


def compare(folder: Path, rows: int, cores: int) -> dict[str, Any]:
    """Do what the job does with a list before it starts Spark; return its figures, and say if it erred."""
    output = _output(folder)
    source = Source((), output, manifest=str(_list(folder)))
    start = time.monotonic()
    with writer.exclusive_writer(
        output,
        "bench",
        "run",
        lambda found: claim.admit_run(output, found, claim.input_claim((), None), False),
    ) as writing:
        taken = listing.take_inventory(source, writing, BACKBONE, cores, WAVE)
        seconds, peak = time.monotonic() - start, peak_bytes(os.getpid())
        return {
            "files": len(writing.snapshot.files),
            "new_or_changed": taken.todo,
            "missing": taken.missing,
            "mistakes": mistakes(taken, output, rows),
            "seconds": round(seconds, 3),
            "peak_bytes": peak,
        }


def mistakes(taken: Inventory, output: str, rows: int) -> int:
    """Return how many photos were not found as what they are."""
    found: list[tuple[str, int]] = []
    for task in range(taken.tasks.tasks):
        batch = tasks.read(taken.tasks.location, task)
        kinds = (NEW if file is None else CHANGED for file in batch["replaces"].to_pylist())
        found += zip(batch["path"].to_pylist(), kinds, strict=True)
    found += ((path, REMOVED) for path in missing.read(output)["path"].to_pylist())
    truth = set(_truth(rows))
    return len(truth ^ set(found)) + len(found) - len(set(found)) + abs(taken.unchanged - (rows - 2 * EACH))


def _truth(rows: int) -> Iterator[tuple[str, int]]:
    special = roles(rows)
    for role in (NEW, CHANGED, REMOVED):
        yield from ((path, role) for path in paths(np.flatnonzero(special == role)).to_pylist())


def _list(folder: Path) -> Path:
    return folder / "list.parquet"


def _output(folder: Path) -> str:
    return str(folder / "output")


def _facts(numbers: Numbers, special: NDArray[np.int8]) -> dict[str, pa.Array]:
    """Return what a list says of photos."""
    changed = special[numbers] == CHANGED
    return {
        "path": paths(numbers),
        "etag": _etags(numbers + np.where(changed, 2**40, 0)),
        "bytes": pa.array(5000 + numbers % 997),
        "modified": pa.array(SINCE + numbers * 1_000_000).cast(pa.timestamp("us", tz="UTC")),
    }


def _rows(numbers: Numbers) -> pa.Table:
    """Return rows of the table, of photos as they were before any changed."""
    facts = _facts(numbers, np.full(numbers.max() + 1, SAME, np.int8))
    backbone = pa.repeat(BACKBONE, len(numbers))
    features = pa.array(np.zeros((len(numbers), 1), np.float32).tolist(), pa.list_(pa.float32()))
    return synthetic_table.rows(**facts, features=features, backbone=backbone)


def _etags(numbers: Numbers) -> pa.Array:
    """Return 32 hexadecimal digits for each number, other ones for another."""
    factors = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)  # odd: no two products are equal
    digits = (numbers.astype(np.uint64)[:, None] * factors).tobytes().hex().encode()
    return pa.array(np.frombuffer(digits, "S32")).cast(pa.string())


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is compared, or compare and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Time the comparison of a long list.")
    add = parser.add_argument
    add("folder", type=Path)
    add("--rows", type=int, required=True, help="photos listed")
    add("--make", action="store_true", help="only make what is compared")
    add("--rows-per-file", type=int, default=1000, help="of the table that is made (default a wave's)")
    add("--files-per-commit", type=int, default=10, help="of its log (default 10)")
    add("--cores", type=int, default=1, help="as many as Spark would have")
    given = parser.parse_args(arguments)
    folder = given.folder.resolve()
    if given.make:
        make(folder, given.rows, given.rows_per_file, given.files_per_commit)
        print("{}")
        return 0
    print(json.dumps({**open_twice(folder), **compare(folder, given.rows, given.cores)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
