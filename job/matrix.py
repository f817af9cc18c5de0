"""The reduced matrix: of each file of features one in ``pca`` and one in ``pca_csv``, named after both.

As long as the model stays, only files that are new or changed are projected. A new model's matrix is written
beside the old one's, which goes when the new one is whole; each row says which model it is of.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from job import coverage, passes, store, tables
from job.coverage import Matrix
from job.pca import Pca

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def write(start_spark: "Callable[[], SparkSession]", output: str, model: Pca) -> tuple[int, int]:
    """Bring the matrix up to date.

    Parameters
    ----------
    start_spark : callable
        Returns the session; only called if there is something to project.
    output : str
        The output's location.
    model : Pca

    Returns
    -------
    int
        Rows of the matrix.
    int
        Rows of it that were projected now.
    """
    model_id = model.model_id
    files = {
        file.location.rpartition("/")[2]: file
        for file in store.list_stored(store.join(output, store.FEATURES_TABLE), ".parquet")
    }
    there = {
        f"{table}/{name.rpartition('/')[2]}"
        for table in (store.PCA_TABLE, store.PCA_CSV_TABLE)
        for name, _ in store.list_files(store.join(output, table))
    }
    known = coverage.load_matrix(output)
    done = {
        name: covered
        for name, covered in (known.files.items() if known.model_id == model_id else ())
        if name in files
        and covered[0] == files[name].version
        and there.issuperset(tables.matrix_names(name, model_id))
    }
    wanted = [file.location for name, file in sorted(files.items()) if name not in done]
    made = passes.project(start_spark(), wanted, output, model, model_id) if wanted else {}
    for location, rows in made.items():
        name = location.rpartition("/")[2]
        done[name] = (files[name].version, rows)
    if wanted or known != Matrix(model_id, done):
        coverage.save_matrix(output, Matrix(model_id, done))
    stale = there - {one for name in files for one in tables.matrix_names(name, model_id)}
    store.delete_files([store.join(output, name) for name in sorted(stale)])
    return sum(rows for _, rows in done.values()), sum(made.values())
