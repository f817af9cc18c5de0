"""Writes the reduced matrix: for each file of featurized photos one file in ``pca`` and one in ``pca_csv``.

Files of the table never change, so only those without a matrix file of the current model are projected. A new
model's matrix is written beside the old one's, which is deleted when the run ends.
"""

import io
import json
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from job.maths.pca import Pca
from job.network.backbone import FEATURES
from job.storage import store
from job.table import files, layout, schema, sweep
from job.table.layout import DataFile

KEY_COLUMNS = schema.PCA.names[:3]
# A label that begins so is a formula in a spreadsheet; an apostrophe before it makes it text. An apostrophe
# gets one, too, so that readers may remove one from each label.
FORMULA = r"^([=+\-@\t\r'])"


def update(
    output: str, featurized: Sequence[DataFile], model: Pca, project: Callable[[Sequence[DataFile]], int]
) -> tuple[int, int]:
    """Bring the matrix up to date with the table's featurized files, and record its model in a file.

    `project` writes the matrix of some files and returns its number of rows. The result is the number of all
    rows of the matrix, and of those projected now.
    """
    folders = {path.rpartition("/")[0] for path in layout.matrix_paths("", model.model_id)}
    prefix = f"{output.rstrip('/')}/"
    existing = {
        location.removeprefix(prefix)
        for folder in folders
        for location, _ in store.list_files(store.join(output, folder))
    }
    missing = [
        file for file in featurized if not existing.issuperset(layout.matrix_paths(file.path, model.model_id))
    ]
    projected = project(missing) if missing else 0
    if sweep.current_model_id(output) != model.model_id:
        data = json.dumps({"model_id": model.model_id}).encode()
        store.write_bytes(store.join(output, layout.CURRENT_MODEL), data)
    unchanged = sum(file.rows for file in featurized) - sum(file.rows for file in missing)
    return unchanged + projected, projected


def project_file(output: str, path: str, model: Pca) -> int:
    """Write the matrix of one file of featurized photos as Parquet and CSV; return its number of rows."""
    keys, parts = [], []
    for batch in files.batches([files.location(output, path)], [*KEY_COLUMNS, "features"]):
        keys.append(batch.select(KEY_COLUMNS))
        parts.append(model.project(files.matrix(batch.column("features"), FEATURES)))
    key_table, rows = pa.Table.from_batches(keys), np.vstack(parts)
    components = {f"pc_{number}": column for number, column in enumerate(np.ascontiguousarray(rows.T), 1)}
    csv = io.BytesIO()
    columns = {**dict(zip(KEY_COLUMNS, key_table.columns, strict=True)), **components}
    columns["label"] = without_formulas(columns["label"])
    pyarrow.csv.write_csv(pa.table(columns), csv)
    parquet = files.parquet_bytes(key_table.append_column("pca", files.vectors(rows)).cast(schema.PCA))
    for name, data in zip(layout.matrix_paths(path, model.model_id), (parquet, csv.getvalue()), strict=True):
        store.write_bytes(store.join(output, name), data)
    return len(rows)


def without_formulas(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return labels for a CSV file: those that a spreadsheet would compute begin with an apostrophe."""
    return pc.replace_substring_regex(labels, FORMULA, r"'\1")
