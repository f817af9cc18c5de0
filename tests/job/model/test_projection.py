"""The reduced matrix: only files without one are projected, and a new model's is made beside the old."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from pyspark.sql import SparkSession

from job.maths import pca
from job.maths.moments import accumulate
from job.maths.pca import Pca
from job.model import projection
from job.storage import store
from job.table import files, layout, schema, sweep
from job.table.layout import DataFile
from tests.job.commands.test_erase import assert_derived
from tests.support import outputs
from tests.support.outputs import FEW, Output, add_file, features_of
from tests.support.spark_session import ROOT
from tests.support.tables import tree


def a_model(k: int = 2) -> Pca:
    rows = np.random.default_rng(99).normal(size=(40, FEW))
    return pca.fit(accumulate([rows], FEW), k, 0.95, standardize=False)


MODEL = a_model()


class Table:
    """The files of a table, and what is projected of them; a killed run projects the first file only."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)
        self.files = [add_file(self.place, number, 4) for number in range(3)]
        self.projected: list[DataFile] = []
        self.is_to_be_killed = False

    def write(self, model: Pca = MODEL) -> tuple[int, int]:
        self.projected = []
        return projection.update(self.place, self.files, model, partial(self._project, model))

    def _project(self, model: Pca, some: Sequence[DataFile]) -> int:
        self.projected += some
        self.model_meanwhile = sweep.current_model_id(self.place)
        rows = 0
        for file in some:
            rows += projection.project_file(self.place, file.path, model)
            if self.is_to_be_killed:
                raise KeyboardInterrupt
        return rows

    def names(self) -> set[str]:
        """Return the files of both kinds of matrix."""
        found = [name for folder in layout.DERIVED for name, _ in store.list_files(f"{self.place}/{folder}")]
        return {name.removeprefix(f"{self.place}/") for name in found}


def names_of(model: Pca, *some: DataFile) -> set[str]:
    return {name for file in some for name in layout.matrix_paths(file.path, model.model_id)}


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """Return a table of three files, twelve photos, and their matrix."""
    outputs.quick(monkeypatch)
    found = Table(tmp_path)
    assert found.write() == (12, 12)
    assert found.names() == names_of(MODEL, *found.files)
    assert sweep.current_model_id(found.place) == MODEL.model_id
    return found


def test_where_nothing_is_new_nothing_is_projected_or_written(table: Table) -> None:
    before = tree(table.place)
    assert table.write() == (12, 0)
    assert table.projected == []
    assert tree(table.place) == before


def test_only_files_without_a_matrix_are_projected(table: Table) -> None:
    new = add_file(table.place, 7, 5)
    table.files[1:2] = [new]
    assert table.write() == (13, 5)
    assert table.projected == [new]
    assert names_of(MODEL, *table.files) < table.names()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_part_of_the_matrix_that_was_lost_is_made_again(table: Table, lost: int) -> None:
    Path(table.place, layout.matrix_paths(table.files[2].path, MODEL.model_id)[lost]).unlink()
    assert table.write() == (12, 4)
    assert table.projected == table.files[2:]
    assert table.names() == names_of(MODEL, *table.files)


def test_a_new_models_matrix_is_written_beside_the_old_one_and_named_when_it_is_whole(table: Table) -> None:
    new = a_model(3)
    assert table.write(new) == (12, 12)
    assert table.model_meanwhile == MODEL.model_id
    assert sweep.current_model_id(table.place) == new.model_id
    assert table.names() == names_of(MODEL, *table.files) | names_of(new, *table.files)


def test_what_a_run_that_was_killed_has_projected_is_not_projected_again(table: Table) -> None:
    new = a_model(3)
    table.is_to_be_killed = True
    with pytest.raises(KeyboardInterrupt):
        table.write(new)
    assert sweep.current_model_id(table.place) == MODEL.model_id
    table.is_to_be_killed = False
    assert table.write(new) == (12, 8)
    assert table.projected == table.files[1:]


def test_parquet_and_csv_hold_the_projections_whatever_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs.quick(monkeypatch)
    paths = sorted(['/a "b"/c,d.jpg', "/line\nbreak/é.jpg", "/\x01/🍎;.jpg", "/NULL", " / "])
    rows = [{"path": path, "label": path, "features": features_of(path)} for path in paths]
    columns = pa.Table.from_pylist(rows, schema.PHOTOS)
    file = files.write(str(tmp_path), "outcome=featurized/part-1.parquet", columns)
    assert projection.project_file(str(tmp_path), file.path, MODEL) == 5
    projected = MODEL.project(np.vstack([features_of(path) for path in paths]))
    parquet, csv = (f"{tmp_path}/{name}" for name in layout.matrix_paths(file.path, MODEL.model_id))
    table = files.read(parquet)
    assert table.schema == schema.PCA
    np.testing.assert_array_equal(np.vstack(table["pca"].to_numpy()), projected)
    read = pyarrow.csv.ParseOptions(newlines_in_values=True)
    lines = pyarrow.csv.read_csv(csv, parse_options=read)
    assert lines.column_names == ["path", "label", "split", "pc_1", "pc_2"]
    assert table["path"].to_pylist() == table["label"].to_pylist() == lines["path"].to_pylist() == paths
    found = np.column_stack([lines["pc_1"].to_numpy(), lines["pc_2"].to_numpy()])
    np.testing.assert_array_equal(found.astype(np.float32), projected)


LABELS = ["001", "007", "True", "False", "NA", "null", "None", "NaN", "", "=1+1", "+1", "-1", "@SUM(A1)"]
LABELS += [
    "'quoted'",
    "\t=1",
    "\r=1",
    "a\nb",
    'say "x"',
    '"',
    "a,b",
    "\\",
    "#N/A",
    "\u00e9",
    "1",
    "True",
    "'",
    "''=1",
]


def written_labels(output: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write the matrix of photos with odd labels, and return what the CSV itself holds as labels."""
    outputs.quick(monkeypatch)
    rows = [
        {"path": f"/{number:02}", "label": label, "features": features_of(f"/{number}")}
        for number, label in enumerate(LABELS)
    ]
    current = json.dumps({"model_id": MODEL.model_id}).encode()
    store.write_bytes(store.join(output, layout.CURRENT_MODEL), current)
    read = pyarrow.csv.ParseOptions(newlines_in_values=True)
    text = pyarrow.csv.ConvertOptions(column_types={"label": pa.string()})
    labels: list[str] = []
    for part, start in enumerate(range(0, len(rows), 2)):  # a file of numbers, one of booleans, ...
        path = f"outcome=featurized/part-{part:02}.parquet"
        files.write(output, path, pa.Table.from_pylist(rows[start : start + 2], schema.PHOTOS))
        projection.project_file(output, path, MODEL)
        csv = store.join(output, layout.matrix_paths(path, MODEL.model_id)[1])
        labels += pyarrow.csv.read_csv(csv, parse_options=read, convert_options=text)["label"].to_pylist()
    return labels


def test_no_label_of_the_csv_is_a_formula_and_the_readmes_lines_read_each_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = written_labels(f"{tmp_path}/build/output", monkeypatch)
    assert not [label for label in labels if label[:1] in tuple("=+-@\t\r")]
    monkeypatch.chdir(tmp_path)
    parts = (ROOT / "README.md").read_text().split("```")
    example = next(part for part in parts if "pca_csv" in part and "pd." in part)
    names: dict[str, Any] = {"json": json, "Path": Path, "pd": pd}
    exec(example[example.index("current =") : example.index("print(table")], names)
    assert names["table"].sort_values("path")["label"].tolist() == LABELS


@pytest.mark.spark
def test_spark_reads_each_label_as_one_field_by_the_readmes_options(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = written_labels(f"{tmp_path}/build/output", monkeypatch)
    (line,) = (line for line in (ROOT / "job/README.md").read_text().splitlines() if "spark.read.csv" in line)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"spark": spark}
    exec("read = " + line.partition(".show")[0].replace("build/output", f"{tmp_path}/build/output"), names)
    rows = names["read"].orderBy("path").collect()
    assert [row["label"] or "" for row in rows] == labels


def test_when_a_run_ends_the_matrix_of_the_model_before_is_gone_and_that_model_stays(output: Output) -> None:
    before = sweep.current_model_id(output.location)
    record = outputs.run(output, "--components", "5", "--refit", "auto")
    assert record["model"]["rows_projected"] == len(output.good)
    assert_derived(output.location)
    assert sweep.current_model_id(output.location) == record["model"]["model_id"] != before
    assert Path(output.location, layout.MODELS, before, "model.json").exists()


@pytest.mark.parametrize("torn", [None, b"", b"{", b"[]", b'{"model_id": "pca-9-none"}'])
def test_a_current_model_that_is_torn_or_not_there_is_made_anew(output: Output, torn: bytes | None) -> None:
    place = Path(output.location, layout.CURRENT_MODEL)
    place.unlink()
    if torn is not None:
        place.write_bytes(torn)
    model = outputs.run(output)["model"]
    assert model["fitted_now"]
    assert json.loads(place.read_text()) == {"model_id": model["model_id"]}
    assert_derived(output.location)
