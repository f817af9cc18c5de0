"""The reduced matrix: of each file of featurized photos one in ``pca`` and one in ``pca_csv``.

Files of the table never change, so a file of the matrix that is there is right: only files without one are
projected. A new model's matrix is written beside the old one's, which goes when the run ends.
"""

import io
import json
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv

from job.maths.pca import Pca
from job.network.backbone import FEATURES
from job.storage import store
from job.table import files, layout, schema, sweep
from job.table.layout import DataFile

NAMES = schema.PCA.names[:3]


def write(
    output: str, featurized: Sequence[DataFile], model: Pca, project: Callable[[Sequence[DataFile]], int]
) -> tuple[int, int]:
    """Bring the matrix up to date with the table, and say by a file which model it is of now.

    Parameters
    ----------
    output : str
    featurized : sequence of DataFile
        The table's files of featurized photos.
    model : Pca
    project : callable
        Writes the matrix of some files, and returns its rows.

    Returns
    -------
    int
        Rows of the matrix.
    int
        Rows of it that were projected now.
    """
    folders = {path.rpartition("/")[0] for path in layout.matrix_paths("", model.model_id)}
    above = f"{output.rstrip('/')}/"
    there = {
        location.removeprefix(above)
        for folder in folders
        for location, _ in store.list_files(store.join(output, folder))
    }
    wanted = [
        file for file in featurized if not there.issuperset(layout.matrix_paths(file.path, model.model_id))
    ]
    projected = project(wanted) if wanted else 0
    if sweep.current_model_id(output) != model.model_id:
        data = json.dumps({"model_id": model.model_id}).encode()
        store.write_bytes(store.join(output, layout.CURRENT_MODEL), data)
    kept = sum(file.rows for file in featurized) - sum(file.rows for file in wanted)
    return kept + projected, projected


def project(output: str, path: str, model: Pca) -> int:
    """Write the matrix of one file of featurized photos, as Parquet and as CSV, and return its rows."""
    names, parts = [], []
    for batch in files.batches([files.location(output, path)], [*NAMES, "features"]):
        names.append(batch.select(NAMES))
        parts.append(model.project(files.matrix(batch.column("features"), FEATURES)))
    named, rows = pa.Table.from_batches(names), np.vstack(parts)
    numbers = {f"pc_{number}": column for number, column in enumerate(np.ascontiguousarray(rows.T), 1)}
    csv = io.BytesIO()
    pyarrow.csv.write_csv(pa.table({**dict(zip(NAMES, named.columns, strict=True)), **numbers}), csv)
    parquet = files.parquet_bytes(named.append_column("pca", files.vectors(rows)).cast(schema.PCA))
    for name, data in zip(layout.matrix_paths(path, model.model_id), (parquet, csv.getvalue()), strict=True):
        store.write_bytes(store.join(output, name), data)
    return len(rows)
