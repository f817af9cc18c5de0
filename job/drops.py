"""Rows that go: what an interrupted run has left twice, and with ``--prune`` what is not listed any more."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from job import rewrite, store, tables
from job.backbone import FEATURES
from job.moments import Moments, accumulate

FILES_AT_ONCE = 4  # of some MB each, in as many threads


@dataclass(frozen=True, slots=True)
class Dropped:
    """What was dropped: rows of any table, the files of features they were in, and these rows' moments."""

    rows: int
    files: frozenset[str]
    moments: Moments


def drop(output: str, paths_of: Mapping[str, Sequence[str]]) -> Dropped:
    """Take rows out of files, each file rewritten in its place.

    Parameters
    ----------
    output : str
        The output's location.
    paths_of : mapping
        By file (``features/…`` or ``rejected/…``), the paths whose rows go.
    """
    rows = 0

    def gone(pool: ThreadPoolExecutor) -> Iterator[NDArray[np.float32]]:
        nonlocal rows
        files = iter(sorted(paths_of))
        # No more than these at once: what was dropped waits in memory to be summed up.
        while some := list(islice(files, FILES_AT_ONCE)):
            for table in pool.map(lambda file: rewrite.drop(store.join(output, file), paths_of[file]), some):
                rows += len(table)
                yield from features_of(table)

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        moments = accumulate(gone(pool), FEATURES)
    return Dropped(rows, names(paths_of), moments)


def features_of(table: pa.Table) -> Iterator[NDArray[np.float32]]:
    """Yield the features ``(n, 1280)`` of a table's rows, if it has such."""
    if "features" in table.schema.names and len(table):
        yield tables.matrix(table["features"].combine_chunks(), FEATURES)


def names(files: Iterable[str]) -> frozenset[str]:
    """Return the names of those files that are of ``features``."""
    table = f"{store.FEATURES_TABLE}/"
    return frozenset(file.removeprefix(table) for file in files if file.startswith(table))
