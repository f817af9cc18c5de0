"""Reads features of labelled photos by split: those that calibrate the classifier, and those that score it.

Of a group of at most 10,000 photos, all are read. Of a larger one, each label in each file gives the same
share of neighbouring frames. Of more than 100 files, 100 are read in random order, and their first row group
alone: so a hundred million photos cost no more than some hundred thousand.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from job.maths.calibration import LabelledRows, natural_key
from job.network.backbone import FEATURES
from job.storage import store
from job.table import files, layout
from job.table.layout import DataFile

MOST_PHOTOS: Final = 10_000  # of a group of splits, about
MOST_FILES: Final = 100
FILES_AT_ONCE: Final = 4
COLUMNS: Final = ["path", "label", "split", "features"]


def read(
    output: str, featurized: Sequence[DataFile], groups: Sequence[Collection[str]], sizes: Sequence[int]
) -> list[LabelledRows]:
    """Return photos of each group of splits; ``""`` is the split of photos outside of splits.

    `sizes` are the numbers of labelled photos of the groups in the table.
    """
    chosen = sorted(featurized, key=lambda file: layout.random_part(file.path))[:MOST_FILES]
    is_whole = len(chosen) == len(featurized)
    rows_read = sum(file.rows if is_whole else min(file.rows, files.ROWS_PER_GROUP) for file in chosen)
    share_read = rows_read / max(sum(file.rows for file in featurized), 1)
    shares = [min(1.0, MOST_PHOTOS / max(size * share_read, 1)) for size in sizes]
    tables: list[list[pa.Table]] = [[] for _ in groups]
    for table in _tables(output, chosen, is_whole):
        splits = pc.fill_null(table["split"], "")
        for part, group, share in zip(tables, groups, shares, strict=True):
            is_of_group = pc.and_(pc.is_in(splits, pa.array(sorted(group))), pc.is_valid(table["label"]))
            part.append(_share_of(table.filter(is_of_group), share))
    return [_rows(part) for part in tables]


def _tables(output: str, chosen: Sequence[DataFile], is_whole: bool) -> Iterator[pa.Table]:
    """Yield the columns of files in order, a few files ahead; their first row groups alone if not whole."""

    def table(file: DataFile) -> pa.Table:
        with store.open_columns(files.location(output, file.path), file.bytes) as source:
            parquet = pq.ParquetFile(source)
            numbers = range(parquet.num_row_groups) if is_whole else range(min(parquet.num_row_groups, 1))
            return parquet.read_row_groups(list(numbers), COLUMNS, use_threads=False)

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        for start in range(0, len(chosen), FILES_AT_ONCE):
            yield from pool.map(table, chosen[start : start + FILES_AT_ONCE])


def _share_of(table: pa.Table, share: float) -> pa.Table:
    """Return a share of the photos of each label and split, those that come first by name."""
    if share == 1:
        return table
    paths = table["path"].to_pylist()
    numbers_by_key = defaultdict[tuple[str | None, str], list[int]](list)
    for number, key in enumerate(zip(table["split"].to_pylist(), table["label"].to_pylist(), strict=True)):
        numbers_by_key[key].append(number)
    kept: list[int] = []
    for numbers in numbers_by_key.values():
        numbers.sort(key=lambda number: natural_key(paths[number]))
        kept += numbers[: math.ceil(share * len(numbers))]
    return table.take(pa.array(sorted(kept), pa.int64()))


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
