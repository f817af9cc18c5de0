"""Reads features of labelled photos by split: those that calibrate the classifier, and those that score it.

Up to 10,000 photos of a split, all are read. Of more, whole files are read in the order of the random part of
their names until there are enough, so that a hundred million photos cost no more than a hundred thousand.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from job.network.backbone import FEATURES
from job.table import files, layout
from job.table.layout import DataFile

MOST_PHOTOS: Final = 10_000  # of a group of splits
MOST_READ: Final = 100_000  # photos of all splits
FILES_AT_ONCE: Final = 4
COLUMNS: Final = ["path", "label", "split", "features"]


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Labelled photos, in order of their paths; `rows` are their features ``(n, d)``."""

    paths: list[str]
    labels: list[str]
    splits: list[str]
    rows: NDArray[np.float32]


def read(
    output: str, featurized: Sequence[DataFile], groups: Sequence[Collection[str]]
) -> list[LabelledRows]:
    """Return the photos of each group of splits; ``""`` is the split of photos outside of splits."""
    tables: list[list[pa.Table]] = [[] for _ in groups]
    counts = [0] * len(groups)
    read_photos = 0
    for table in _tables(output, sorted(featurized, key=lambda file: layout.random_part(file.path))):
        splits = pc.fill_null(table["split"], "")
        for number, group in enumerate(groups):
            is_of_group = pc.and_(pc.is_in(splits, pa.array(sorted(group))), pc.is_valid(table["label"]))
            if counts[number] < MOST_PHOTOS:
                tables[number].append(table.filter(is_of_group))
                counts[number] += len(tables[number][-1])
        read_photos += len(table)
        if read_photos >= MOST_READ or min(counts) >= MOST_PHOTOS:
            break
    return [_rows(parts) for parts in tables]


def _tables(output: str, featurized: Sequence[DataFile]) -> Iterator[pa.Table]:
    """Yield the columns of files in order, a few files ahead."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        for start in range(0, len(featurized), FILES_AT_ONCE):
            some = featurized[start : start + FILES_AT_ONCE]
            yield from pool.map(lambda file: files.read(files.location(output, file.path), COLUMNS), some)


def _rows(tables: list[pa.Table]) -> LabelledRows:
    """Return the rows of all tables in order of their paths; features are copied once."""
    paths = [path for table in tables for path in table["path"].to_pylist()]
    order = sorted(range(len(paths)), key=paths.__getitem__)
    rank = np.empty(len(paths), np.int64)
    rank[order] = np.arange(len(paths))
    rows = np.empty((len(paths), FEATURES), np.float32)
    start = 0
    for table in tables:
        matrix = files.matrix(table["features"].combine_chunks(), FEATURES)
        rows[rank[start : start + len(table)]] = matrix
        start += len(table)
    labels = [label for table in tables for label in table["label"].to_pylist()]
    splits = [split or "" for table in tables for split in table["split"].to_pylist()]
    return LabelledRows(
        [paths[number] for number in order],
        [labels[number] for number in order],
        [splits[number] for number in order],
        rows,
    )
