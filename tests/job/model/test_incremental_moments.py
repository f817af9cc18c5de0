"""Incremental moments: only added and removed files are read, and the result is that of one full pass."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from job.maths.grouped_moments import TableMoments
from job.model import incremental_moments
from job.model.incremental_moments import SavedMoments, update
from job.table import files
from job.table.layout import DataFile
from tests.support import outputs
from tests.support.outputs import FEW, add_file, assert_same_moments


class Table:
    """The files of a table, their moments, and a record of the files that were read."""

    def __init__(self, folder: Path) -> None:
        self.location, self.moments_file = str(folder), folder / "moments" / incremental_moments.MOMENTS_FILE
        self.files: list[DataFile] = []
        self.read: list[DataFile] = []
        self._numbers = count()

    def add(self, rows: int = 6) -> DataFile:
        self.files.append(add_file(self.location, next(self._numbers), rows))
        return self.files[-1]

    def remove(self, file: DataFile, swept: bool = False) -> None:
        self.files.remove(file)
        if swept:
            Path(files.location(self.location, file.path)).unlink()

    def update(self) -> bool:
        """Update the moments, check them against one full pass, and tell whether all files were recounted."""
        self.read = []
        moments, is_recount = update(self.location, self.files, self._file_moments)
        expected = incremental_moments.file_moments(self.location, self.files)
        saved = incremental_moments.load(self.location)
        assert saved is not None
        assert saved.files == {file.path: file.rows for file in self.files}
        for actual in (moments, saved.moments):
            assert_same_moments(actual, expected)
        return is_recount

    def _file_moments(self, data_files: Sequence[DataFile]) -> TableMoments:
        self.read += data_files
        return incremental_moments.file_moments(self.location, data_files)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """Return a table of three files with eighteen photos, and its moments."""
    outputs.quick(monkeypatch)
    table = Table(tmp_path)
    for _ in range(3):
        table.add()
    assert not table.update(), "the first count is no recount"
    assert table.read == table.files
    return table


def test_an_unchanged_table_reads_and_writes_nothing(table: Table) -> None:
    before = table.moments_file.stat()
    table.files.reverse()
    assert not table.update()
    assert table.read == []
    assert table.moments_file.stat() == before


def test_only_added_and_removed_files_are_read(table: Table) -> None:
    old = table.files[1]
    table.remove(old)
    new = [table.add(2), table.add(5)]
    assert not table.update()
    assert [(file.path, file.rows) for file in table.read] == [(file.path, file.rows) for file in (*new, old)]


def test_a_swept_file_forces_a_full_recount(table: Table) -> None:
    table.remove(table.files[1], swept=True)
    assert table.update()
    assert table.read == table.files


@pytest.mark.parametrize(("rows", "is_recount"), [(6, False), (5, True)])
def test_an_update_that_reads_more_than_the_table_is_a_recount(
    table: Table, rows: int, is_recount: bool
) -> None:
    table.add(rows)
    table.update()
    removed = table.files[:2]
    for file in removed:
        table.remove(file)
    new = table.add()
    assert table.update() is is_recount
    assert len(table.read) == len(table.files if is_recount else [new, *removed])


def test_rows_whose_removal_would_lose_precision_force_a_recount(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = np.full(FEW, 1e7, np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "features_of", lambda _: far)
        outlier = table.add(1)
    table.update()
    table.remove(outlier)
    assert table.update()
    assert table.read[-3:] == table.files


@pytest.mark.parametrize("torn", [b"", b"PK\x03\x04", b"no archive", None])
def test_torn_or_missing_moments_are_counted_anew(table: Table, torn: bytes | None) -> None:
    if torn is None:
        table.moments_file.unlink()
    else:
        table.moments_file.write_bytes(torn or table.moments_file.read_bytes()[:-40])
    table.add()
    assert not table.update()
    assert table.read == table.files


def test_moments_whose_count_differs_from_the_files_are_recounted(table: Table) -> None:
    saved = incremental_moments.load(table.location)
    assert saved is not None
    (split, part), *others = saved.moments.features.splits.items()
    splits = {split: replace(part, n=part.n - 1), **dict(others)}
    moments = replace(saved.moments, features=replace(saved.moments.features, splits=splits))
    incremental_moments.save(table.location, SavedMoments(moments, saved.files))
    table.add()
    assert table.update()
    assert table.read[-4:] == table.files


@pytest.mark.parametrize("seed", range(3))
def test_ten_increments_in_any_order_give_the_moments_of_one_pass(table: Table, seed: int) -> None:
    generator = random.Random(seed)
    recounts = 0
    for _ in range(10):
        for _ in range(generator.randint(0, 2)):
            table.remove(generator.choice(table.files), swept=generator.random() < 0.2)
        for _ in range(generator.randint(1, 3)):
            table.add(generator.randint(1, 9))
        generator.shuffle(table.files)
        recounts += table.update()
    assert recounts < 10, "most increments were merged"


def test_merged_files_are_renamed_in_the_moments_without_being_read(table: Table) -> None:
    before = incremental_moments.load(table.location)
    *merged, unmerged = table.files
    new = DataFile("outcome=featurized/merged.parquet", 0, 12)
    incremental_moments.rename_files(
        table.location, dict.fromkeys([file.path for file in merged], new.path), [new]
    )
    after = incremental_moments.load(table.location)
    assert before is not None
    assert after is not None
    assert after.files == {unmerged.path: 6, new.path: 12}
    assert_same_moments(after.moments, before.moments)


def test_merged_files_outside_the_saved_moments_force_a_recount(table: Table) -> None:
    before = table.moments_file.read_bytes()
    new = table.add()
    incremental_moments.rename_files(
        table.location, {table.files[0].path: "merged", new.path: "merged"}, [DataFile("merged", 0, 12)]
    )
    assert table.moments_file.read_bytes() == before
    table.moments_file.unlink()
    incremental_moments.rename_files(
        table.location, {table.files[0].path: "merged"}, [DataFile("merged", 0, 6)]
    )
    assert not table.moments_file.exists()
