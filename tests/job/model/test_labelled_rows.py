"""Labelled rows: all photos of small tables, whole files of large ones, each group of splits apart."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from job.model import labelled_rows
from job.table import files, layout
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
    training, others = labelled_rows.read(output, data_files, [["Training"], ["", "Test"]], [48, 96])
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
    (rows,) = labelled_rows.read(str(tmp_path), data_files, [[""]], [48])
    assert sorted(set(rows.labels)) == list(LABELS)


def test_of_many_photos_each_label_gives_a_share_of_neighbouring_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path)
    data_files = [add_photos(output, number) for number in range(8)]
    data_files.append(add_photos(output, 8, "Test"))
    monkeypatch.setattr(labelled_rows, "MOST_PHOTOS", 96)
    training, test = labelled_rows.read(output, data_files, [["Training"], ["Test"]], [8 * 48, 48])
    assert Counter(training.labels) == dict.fromkeys(LABELS, 8 * 3)
    frames = {path.rpartition("-")[2] for path in training.paths}
    assert frames == {"0.jpg", "1.jpg", "2.jpg"}, "the first by number, not by letter"
    assert len(test.paths) == 48, "a small group is whole"
    again, _ = labelled_rows.read(output, data_files[::-1], [["Training"], ["Test"]], [8 * 48, 48])
    assert again.paths == training.paths


def test_of_many_files_some_are_read_in_random_order_and_their_first_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path)
    monkeypatch.setattr(files, "ROWS_PER_GROUP", 30)
    data_files = [add_photos(output, number) for number in range(8)]
    monkeypatch.setattr(labelled_rows, "MOST_FILES", 3)
    (rows,) = labelled_rows.read(output, data_files, [["Training"]], [8 * 48])
    assert len(rows.paths) == 3 * 30
    first = sorted(data_files, key=lambda file: layout.random_part(file.path))[:3]
    numbers = {str(data_files.index(file)) for file in first}
    assert {path.split("/")[-1].split("-")[0] for path in rows.paths} == numbers


def test_a_group_without_photos_has_no_rows(tmp_path: Path) -> None:
    (rows,) = labelled_rows.read(str(tmp_path), [add_photos(str(tmp_path), 0)], [["Test"]], [0])
    assert rows.paths == []
    assert rows.rows.shape == (0, outputs.FEW)
