"""The comparison alone: a long list against an output that knows nearly all of it, without Spark.

``--make`` makes both, of photos that nobody has: of every so many one is new, one changed, and one is known
and not listed. Then, in a process of its own, what the job does before Spark starts is done and timed, and
checked: exactly those must be found. Run by ``bench``: ``python scripts/bench_compare.py FOLDER --rows N``
prints its figures as JSON.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if not __package__:  # run as a file: let it find the repository
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from job import identity, inventory, store, tables, tasks
from job.compare import Comparison
from job.inventory import Inventory, Source
from job.known import Known
from scripts.bench_run import peak_bytes

EACH: Final = 1000  # new photos; as many changed, and as many removed
ROWS_PER_FILE: Final = 1000  # of features: a wave's
DAYS: Final = 10  # increments that the known photos came in: their files overlap
WAVE: Final = 1000
SINCE: Final = datetime(2026, 1, 1, tzinfo=UTC)
NEW, CHANGED, REMOVED = range(3)


def path(number: int) -> str:
    """Return the path of a photo; they sort as their numbers do within a kind."""
    return f"/photos/Training/kind {number % 131:03}/{number:08}_100.jpg"


def role(number: int, rows: int) -> int | None:
    """Tell what is special about a photo beside a list of `rows`, if anything is."""
    period, at = divmod(number, (rows + EACH) // EACH)
    return at if at <= REMOVED and period < EACH else None


def numbers(rows: int, but: int) -> list[int]:
    """Return all photos, listed and known, but those of a role."""
    return [number for number in range(rows + EACH) if role(number, rows) != but]


def make(folder: Path, rows: int) -> None:
    """Write ``list.parquet``, in no order, and ``output/features``, whose features are one number each."""
    listed = np.random.default_rng(0).permutation(numbers(rows, REMOVED)).tolist()
    etags = [_etag(number, role(number, rows) == CHANGED) for number in listed]
    folder.mkdir(parents=True)
    pq.write_table(
        pa.table({"path": list(map(path, listed)), "etag": etags, **_facts(listed)}), _list(folder)
    )
    known = sorted(numbers(rows, NEW), key=path)
    for day in range(DAYS):
        mine = known[day::DAYS]
        for part, start in enumerate(range(0, len(mine), ROWS_PER_FILE)):
            table = _rows(mine[start : start + ROWS_PER_FILE])
            name = tables.part_name(part, f"day-{day}")
            store.write_bytes(store.join(_output(folder), store.FEATURES_TABLE, name), tables.parquet(table))


def compare(folder: Path, cores: int) -> tuple[Inventory, float]:
    """Do what the job does with a list before it starts Spark, and return the seconds, too."""
    start = time.monotonic()
    source = Source((), _output(folder), manifest=str(_list(folder)))
    comparison = Comparison(Known(_output(folder), identity.name("litert")))
    location = store.join(_output(folder), store.INVENTORY, "bench")
    taken = inventory.take(source, location, cores, WAVE, comparison)
    return taken, time.monotonic() - start


def mistakes(taken: Inventory, folder: Path, rows: int) -> int:
    """Return how many photos were not found as what they are."""
    found: list[dict[str, Any]] = []
    for task in range(taken.tasks.tasks):
        found += tasks.read(taken.tasks.location, task).select(["path", "replaces"]).to_pylist()
    gone = pq.read_table(
        store.join(_output(folder), store.INVENTORY, "bench", inventory.REMOVED), columns=["path"]
    )
    said = [
        *((one["path"], NEW if one["replaces"] is None else CHANGED) for one in found),
        *((name, REMOVED) for name in gone["path"].to_pylist()),
    ]
    roles = ((number, role(number, rows)) for number in range(rows + EACH))
    truth = {(path(number), one) for number, one in roles if one is not None}
    return len(truth ^ set(said)) + len(said) - len(set(said)) + abs(taken.unchanged - (rows - 2 * EACH))


def _list(folder: Path) -> Path:
    return folder / "list.parquet"


def _output(folder: Path) -> str:
    return str(folder / "output")


def _facts(some: Sequence[int]) -> dict[str, Any]:
    modified = [SINCE + timedelta(seconds=number) for number in some]
    return {
        "bytes": pa.array([5000 + number % 997 for number in some], pa.int64()),
        "modified": pa.array(modified, pa.timestamp("us", tz="UTC")),
    }


def _rows(some: Sequence[int]) -> pa.Table:
    count = len(some)
    columns = {
        "path": list(map(path, some)),
        "label": [f"kind {number % 131:03}" for number in some],
        "split": ["Training"] * count,
        "etag": [_etag(number) for number in some],
        **_facts(some),
        "sha256": [hashlib.sha256(b"%d" % number).hexdigest() for number in some],
        "width": [100] * count,
        "height": [100] * count,
        "features": tables.vectors(np.zeros((count, 1), np.float32)),
        "backbone": [identity.name("litert")] * count,
        "run_id": ["bench"] * count,
    }
    return pa.table(columns, schema=store.FEATURES)


def _etag(number: int, changed: bool = False) -> str:
    return hashlib.md5(b"%d changed" % number if changed else b"%d" % number).hexdigest()  # noqa: S324


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is compared, or compare and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="bench_compare", description="Time the comparison of a long list.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, required=True, help="photos listed")
    parser.add_argument("--make", action="store_true", help="only make what is compared")
    parser.add_argument("--cores", type=int, default=1, help="as many as Spark would have")
    given = parser.parse_args(arguments)
    folder = given.folder.resolve()
    if given.make:
        make(folder, given.rows)
        print("{}")
        return 0
    taken, seconds = compare(folder, given.cores)
    peak = peak_bytes(os.getpid())
    found = {"new_or_changed": taken.todo, "removed": taken.removed, "unchanged": taken.unchanged}
    wrong = mistakes(taken, folder, given.rows)
    print(json.dumps({**found, "mistakes": wrong, "seconds": round(seconds, 3), "peak_bytes": peak}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
