"""The reduced matrix: only what is new is projected, and what is stale goes when the new one is whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from job import matrix, passes, pca, store, tables
from job.moments import Moments
from job.pca import Pca
from tests.known_rows import drawn, write


class Workers:
    """Stands in for Spark: projects here, notes of which files, and what of the matrix was there then."""

    def __init__(self, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.output = output
        self.projected: list[str] = []
        self.seen: set[str] = set()
        monkeypatch.setattr(passes, "project", self._project)

    def start(self) -> Any:
        return "a session"

    def _project(
        self, spark: object, files: list[str], output: str, model: Pca, model_id: str
    ) -> dict[str, int]:
        assert spark == "a session"
        self.projected = [name.rpartition("/")[2] for name in files]
        self.seen = names(self.output)
        return {file: tables.project(file, output, model, model_id) for file in files}


def not_started() -> Any:
    pytest.fail("Spark is started")


def names(output: Path) -> set[str]:
    """Return the files of both kinds of matrix."""
    return {
        file.location.removeprefix(f"{output}/")
        for table in ("pca", "pca_csv")
        for file in store.list_stored(f"{output}/{table}")
    }


def wanted_names(model: Pca, *numbers: int) -> set[str]:
    return {name for number in numbers for name in tables.matrix_names(f"part-{number}", model.model_id)}


def add(output: Path, number: int, rows: int = 4) -> None:
    paths = [f"/{number}/{row}" for row in range(rows)]
    write(str(output), f"features/part-{number}.parquet", paths, drawn(rows, number))


def a_model(k: int = 2) -> Pca:
    return pca.fit(Moments.of(drawn(40, 99)), k, 0.95, standardize=False)


MODEL = a_model()


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for number in range(3):
        add(tmp_path, number)
    return tmp_path


@pytest.fixture
def workers(output: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    """Stand in for Spark, with a matrix that is made already."""
    found = Workers(output, monkeypatch)
    assert matrix.write(found.start, str(output), MODEL) == (12, 12)
    assert found.projected == ["part-0.parquet", "part-1.parquet", "part-2.parquet"]
    assert names(output) == wanted_names(MODEL, 0, 1, 2)
    found.projected = []
    return found


@pytest.mark.usefixtures("workers")
def test_where_nothing_is_new_spark_is_not_started_and_nothing_is_written(output: Path) -> None:
    def files() -> dict[str, int]:
        return {str(file): file.stat().st_ino for file in output.rglob("*") if file.is_file()}

    before = files()
    assert matrix.write(not_started, str(output), MODEL) == (12, 0)
    assert files() == before


def test_only_new_and_changed_files_are_projected(output: Path, workers: Workers) -> None:
    add(output, 1, rows=3)
    add(output, 7, rows=5)
    assert matrix.write(workers.start, str(output), MODEL) == (16, 8)
    assert workers.projected == ["part-1.parquet", "part-7.parquet"]
    assert names(output) == wanted_names(MODEL, 0, 1, 2, 7)
    assert matrix.write(not_started, str(output), MODEL) == (16, 0)


def test_the_rows_say_which_model_made_them_and_are_its_projection(output: Path, workers: Workers) -> None:
    assert workers.projected == []
    [table] = tables.read([f"{output}/{tables.matrix_names('part-1', MODEL.model_id)[0]}"], store.PCA.names)
    assert table.column("path").to_pylist() == [f"/1/{row}" for row in range(4)]
    assert set(table.column("model_id").to_pylist()) == {MODEL.model_id}
    found = np.array(table.column("pca").to_pylist())
    np.testing.assert_array_equal(found, MODEL.project(drawn(4, 1)))


@pytest.mark.usefixtures("workers")
def test_the_matrix_of_a_file_that_is_gone_goes_too(output: Path) -> None:
    (output / "features/part-1.parquet").unlink()
    assert matrix.write(not_started, str(output), MODEL) == (8, 0)
    assert names(output) == wanted_names(MODEL, 0, 2)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_part_of_the_matrix_that_was_lost_is_made_again(output: Path, workers: Workers, lost: int) -> None:
    (output / tables.matrix_names("part-2", MODEL.model_id)[lost]).unlink()
    assert matrix.write(workers.start, str(output), MODEL) == (12, 4)
    assert workers.projected == ["part-2.parquet"]
    assert names(output) == wanted_names(MODEL, 0, 1, 2)


def test_a_new_models_matrix_is_written_beside_the_old_one_which_goes_then(
    output: Path, workers: Workers
) -> None:
    new = a_model(3)
    assert matrix.write(workers.start, str(output), new) == (12, 12)
    assert len(workers.projected) == 3
    assert workers.seen == wanted_names(MODEL, 0, 1, 2), "until then, it is all there"
    assert names(output) == wanted_names(new, 0, 1, 2)
    assert matrix.write(not_started, str(output), new) == (12, 0)


def test_a_run_that_was_killed_while_it_projected_leaves_the_old_matrix_and_the_next_makes_it_whole(
    output: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = a_model(3)

    def breaks(_: object, files: list[str], *more: Any) -> None:
        tables.project(files[0], *more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(passes, "project", breaks)
        matrix.write(workers.start, str(output), new)
    assert names(output) == wanted_names(MODEL, 0, 1, 2) | wanted_names(new, 0)
    assert matrix.write(workers.start, str(output), new) == (12, 12)
    assert names(output) == wanted_names(new, 0, 1, 2)
