"""Labelled rows: all photos of small tables, whole files of large ones, each group of splits apart."""

from pathlib import Path

import numpy as np
import pytest

from job.model import labelled_rows
from tests.support import fruit_tables, outputs
from tests.support.fruit_tables import LABELS, add_photos


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs.quick(monkeypatch)


def test_the_photos_of_each_group_come_in_order_of_their_paths(tmp_path: Path) -> None:
    output = str(tmp_path)
    data_files = [
        add_photos(output, number, split) for number, split in enumerate(["Test", "Training", None])
    ]
    training, others = labelled_rows.read(output, data_files, [["Training"], ["", "Test"]])
    assert training.paths == sorted(training.paths)
    assert (len(training.paths), len(others.paths)) == (48, 96)
    assert set(training.splits) == {"Training"}
    assert set(others.splits) == {"", "Test"}
    place = training.paths.index("/Training/Kiwi/1-3.jpg")
    assert training.labels[place] == "Kiwi"
    expected = fruit_tables.features("Kiwi", 12, 102)[3]
    np.testing.assert_array_equal(training.rows[place], expected)


def test_photos_without_a_label_are_left_out(tmp_path: Path) -> None:
    data_files = [add_photos(str(tmp_path), 0, None, [*LABELS, None])]
    (rows,) = labelled_rows.read(str(tmp_path), data_files, [[""]])
    assert sorted(set(rows.labels)) == list(LABELS)


def test_of_many_photos_whole_files_are_read_until_there_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path)
    data_files = [add_photos(output, number) for number in range(8)]
    monkeypatch.setattr(labelled_rows, "MOST_PHOTOS", 100)
    (rows,) = labelled_rows.read(output, data_files, [["Training"]])
    assert len(rows.paths) == 3 * 48
    (again,) = labelled_rows.read(output, data_files[::-1], [["Training"]])
    assert again.paths == rows.paths
    monkeypatch.setattr(labelled_rows, "MOST_READ", 48)
    (few,) = labelled_rows.read(output, data_files, [["Training"]])
    assert len(few.paths) == 48


def test_a_group_without_photos_has_no_rows(tmp_path: Path) -> None:
    (rows,) = labelled_rows.read(str(tmp_path), [add_photos(str(tmp_path), 0)], [["Test"]])
    assert rows.paths == []
    assert rows.rows.shape == (0, outputs.FEW)
