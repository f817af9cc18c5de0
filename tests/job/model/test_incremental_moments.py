"""The moments of all features: only what came or went is read, and the result is that of all rows."""

import random
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from job.maths.moments import Moments, accumulate
from job.model import incremental_moments
from job.model.incremental_moments import SavedMoments, update
from job.table import files
from job.table.layout import DataFile
from tests.support import outputs
from tests.support.outputs import FEW, add_file


class Table:
    """The files of a table, and how they are summed up: it is noted which were read."""

    def __init__(self, place: Path) -> None:
        self.place, self.kept = str(place), place / "moments" / incremental_moments.MOMENTS_FILE
        self.files: list[DataFile] = []
        self.read: list[DataFile] = []
        self._numbers = count()

    def add(self, rows: int = 6) -> DataFile:
        self.files.append(add_file(self.place, next(self._numbers), rows))
        return self.files[-1]

    def remove(self, file: DataFile, swept: bool = False) -> None:
        self.files.remove(file)
        if swept:
            Path(files.location(self.place, file.path)).unlink()

    def sum_up(self) -> bool:
        """Sum up, tell whether that was done anew, and make sure that the result is that of one pass."""
        self.read = []
        found, anew = update(self.place, self.files, self._summed)
        read = [files.read(files.location(self.place, file.path))["features"] for file in self.files]
        rows = np.vstack([np.asarray(one.to_pylist(), np.float64) for one in read])
        wanted = accumulate([rows], FEW)
        kept = incremental_moments.load(self.place)
        assert kept is not None
        assert kept.files == {file.path: file.rows for file in self.files}
        assert found.n == kept.moments.n == wanted.n
        for one in (found, kept.moments):
            np.testing.assert_allclose(one.mean, wanted.mean, rtol=1e-9)
            np.testing.assert_allclose(
                one.scatter, wanted.scatter, rtol=1e-9, atol=1e-9 * np.abs(wanted.scatter).max()
            )
        return anew

    def _summed(self, chosen: Sequence[DataFile]) -> Moments:
        self.read += chosen
        return incremental_moments.file_moments(self.place, chosen)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """Return a table of three files, eighteen photos, which are summed up."""
    outputs.quick(monkeypatch)
    found = Table(tmp_path)
    for _ in range(3):
        found.add()
    assert not found.sum_up(), "the first time is no second time"
    assert found.read == found.files
    return found


def test_where_nothing_has_changed_nothing_is_read_or_written(table: Table) -> None:
    before = table.kept.stat()
    table.files.reverse()
    assert not table.sum_up()
    assert table.read == []
    assert table.kept.stat() == before


def test_only_what_came_and_went_is_read(table: Table) -> None:
    old = table.files[1]
    table.remove(old)
    new = [table.add(2), table.add(5)]
    assert not table.sum_up()
    assert [(file.path, file.rows) for file in table.read] == [(one.path, one.rows) for one in (*new, old)]


def test_a_file_that_went_and_is_swept_makes_that_all_are_summed_up_anew(table: Table) -> None:
    table.remove(table.files[1], swept=True)
    assert table.sum_up()
    assert table.read == table.files


@pytest.mark.parametrize(("stay", "anew"), [(6, False), (5, True)])
def test_where_more_would_be_read_than_there_is_all_are_summed_up_anew(
    table: Table, stay: int, anew: bool
) -> None:
    table.add(stay)
    table.sum_up()
    gone = table.files[:2]
    for file in gone:
        table.remove(file)
    new = table.add()
    assert table.sum_up() is anew
    assert len(table.read) == len(table.files if anew else [new, *gone])


def test_rows_that_would_cost_digits_are_not_taken_out(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    far = np.full(FEW, 1e7, np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "features_of", lambda _: far)
        outlier = table.add(1)
    table.sum_up()
    table.remove(outlier)
    assert table.sum_up()
    assert table.read[-3:] == table.files


@pytest.mark.parametrize("torn", [b"", b"PK\x03\x04", b"no archive", None])
def test_what_is_kept_may_be_torn_or_gone(table: Table, torn: bytes | None) -> None:
    if torn is None:
        table.kept.unlink()
    else:
        table.kept.write_bytes(torn or table.kept.read_bytes()[:-40])
    table.add()
    assert not table.sum_up()
    assert table.read == table.files


def test_a_count_that_does_not_fit_is_not_believed(table: Table) -> None:
    kept = incremental_moments.load(table.place)
    assert kept is not None
    moments = Moments(kept.moments.n - 1, kept.moments.mean, kept.moments.scatter)
    incremental_moments.save(table.place, SavedMoments(moments, kept.files))
    table.add()
    assert table.sum_up()
    assert table.read[-4:] == table.files


@pytest.mark.parametrize("seed", range(3))
def test_ten_increments_in_any_order_give_the_moments_of_one_pass(table: Table, seed: int) -> None:
    dice = random.Random(seed)
    anew = 0
    for _ in range(10):
        for _ in range(dice.randint(0, 2)):
            table.remove(dice.choice(table.files), swept=dice.random() < 0.2)
        for _ in range(dice.randint(1, 3)):
            table.add(dice.randint(1, 9))
        dice.shuffle(table.files)
        anew += table.sum_up()
    assert anew < 10, "most increments were merged"


def test_files_that_were_merged_are_known_by_their_new_name_and_not_read(table: Table) -> None:
    before = incremental_moments.load(table.place)
    *merged, left = table.files
    new = DataFile("outcome=featurized/merged.parquet", 0, 12)
    incremental_moments.rename_files(
        table.place, dict.fromkeys([file.path for file in merged], new.path), [new]
    )
    kept = incremental_moments.load(table.place)
    assert before is not None
    assert kept is not None
    assert kept.files == {left.path: 6, new.path: 12}
    assert kept.moments.scatter.tobytes() == before.moments.scatter.tobytes()


def test_of_merged_files_that_the_moments_are_not_of_nothing_is_kept(table: Table) -> None:
    before = table.kept.read_bytes()
    new = table.add()
    incremental_moments.rename_files(
        table.place, {table.files[0].path: "merged", new.path: "merged"}, [DataFile("merged", 0, 12)]
    )
    assert table.kept.read_bytes() == before
    table.kept.unlink()
    incremental_moments.rename_files(table.place, {table.files[0].path: "merged"}, [DataFile("merged", 0, 6)])
    assert not table.kept.exists()
