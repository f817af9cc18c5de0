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
import pyarrow.parquet as pq
from numpy.typing import NDArray

from job import store
from job.backbone import FEATURES
from job.pca import Pca
from job.table import files, layout, schema, sweep
from job.table.files import ROWS_PER_GROUP
from job.table.layout import DataFile

NAMES = schema.PCA.names[:3]


def write(
    output: str,
    featurized: Sequence[DataFile],
    model: Pca,
    project: Callable[[Sequence[DataFile], Pca], dict[str, int]],
) -> tuple[int, int]:
    """Bring the matrix up to date with the table, and say by a file which model it is of now.

    Parameters
    ----------
    output : str
    featurized : sequence of DataFile
        The table's files of featurized photos.
    model : Pca
    project : callable
        Writes the matrix of some files, and returns the rows of each by its path.

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
    made = project(wanted, model) if wanted else {}
    if sweep.current_model(output) != model.model_id:
        data = json.dumps({"model_id": model.model_id}).encode()
        store.write_bytes(store.join(output, layout.CURRENT_MODEL), data)
    rows = sum(made.get(file.path, file.rows) for file in featurized)
    return rows, sum(made.values())


def project(output: str, path: str, model: Pca) -> int:
    """Write the matrix of one file of featurized photos, as Parquet and as CSV, and return its rows."""
    part, rows = _Part(model.k), 0
    for batch in files.batches([files.location(output, path)], [*NAMES, "features"]):
        reduced = model.project(files.matrix(batch.column("features"), FEATURES))
        part.add(batch, reduced)
        rows += len(reduced)
    for name, data in zip(layout.matrix_paths(path, model.model_id), part.close(), strict=True):
        store.write_bytes(store.join(output, name), data)
    return rows


class _Part:
    """Collects the matrix of one file, of `k` numbers a row, as Parquet and as CSV."""

    def __init__(self, k: int) -> None:
        self._parquet, self._csv = io.BytesIO(), io.BytesIO()
        numbers = [pa.field(f"pc_{number}", pa.float32()) for number in range(1, k + 1)]
        self._columns = pa.schema([*(pa.field(name, pa.string()) for name in NAMES), *numbers])
        self._table = pq.ParquetWriter(
            self._parquet, schema.PCA, compression="zstd", use_dictionary=["label", "split"]
        )
        self._lines = pyarrow.csv.CSVWriter(self._csv, self._columns)

    def add(self, batch: pa.RecordBatch, rows: NDArray[np.float32]) -> None:
        """Add the projections ``(n, k)`` of a batch of n photos."""
        names = [batch.column(name) for name in NAMES]
        self._table.write_batch(
            pa.record_batch([*names, files.vectors(rows)], schema=schema.PCA), ROWS_PER_GROUP
        )
        columns = [pa.array(column) for column in np.ascontiguousarray(rows.T)]
        self._lines.write_batch(pa.record_batch([*names, *columns], schema=self._columns))

    def close(self) -> tuple[bytes, bytes]:
        """Return the Parquet file and the CSV file."""
        self._table.close()
        self._lines.close()
        return self._parquet.getvalue(), self._csv.getvalue()
