"""A fitted PCA for others to use: ``pca.npz`` for NumPy, and a ``PipelineModel`` that plain PySpark loads.

The last step of a fit, on the driver alone. Spark's own saving would start its SQL engine and write through
Hadoop, which renames; so the saved form of a model is made here, and each file of it is written at once.

``pyspark.ml.feature.PCAModel`` neither holds nor subtracts a mean, so a ``StandardScalerModel`` stands before
it. The pipeline reads the vector column ``features`` and adds ``pca``.
"""

import io
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from job.maths.pca import Pca
from job.storage import store
from job.table import layout

# Whose saved form this is: Spark chooses by it how to read a model. Later ones read 3.5's, 4.1 too.
SPARK: Final = "3.5.6"
PIPELINE: Final = "org.apache.spark.ml.PipelineModel"
SCALER: Final = "org.apache.spark.ml.feature.StandardScalerModel"
PCA: Final = "org.apache.spark.ml.feature.PCAModel"
# Not Spark's ``part-00000``: beside one that Spark has saved in a folder lies its checksum, and ours would
# fail it. Readers take whatever is in the folder.
METADATA_FILE: Final = "part-00000.txt"
DATA_FILE: Final = "part-00000.snappy.parquet"
SUCCESS: Final = "_SUCCESS"
DENSE: Final = 1  # of vectors and of matrices; a sparse one is 0

_INTEGERS: Final = pa.list_(pa.field("element", pa.int32(), nullable=False))
_DOUBLES: Final = pa.list_(pa.field("element", pa.float64(), nullable=False))
# What VectorUDT and MatrixUDT of org.apache.spark.ml.linalg are made of.
VECTOR: Final = pa.struct(
    [
        pa.field("type", pa.int8(), nullable=False),
        pa.field("size", pa.int32()),
        pa.field("indices", _INTEGERS),
        pa.field("values", _DOUBLES),
    ]
)
MATRIX: Final = pa.struct(
    [
        pa.field("type", pa.int8(), nullable=False),
        pa.field("numRows", pa.int32(), nullable=False),
        pa.field("numCols", pa.int32(), nullable=False),
        pa.field("colPtrs", _INTEGERS),
        pa.field("rowIndices", _INTEGERS),
        pa.field("values", _DOUBLES),
        pa.field("isTransposed", pa.bool_(), nullable=False),
    ]
)
_UDT: Final = {VECTOR: "VectorUDT", MATRIX: "MatrixUDT"}
_SPARK_NAME: Final = {pa.int8(): "byte", pa.int32(): "integer", pa.float64(): "double", pa.bool_(): "boolean"}


def save(pca: Pca, location: str, facts: Mapping[str, object]) -> None:
    """Write ``pca.npz``, ``spark/`` and, last, ``model.json`` below `location`.

    Parameters
    ----------
    pca : Pca
    location : str
        The model's own folder, named by its id: an earlier one of that id has the same content.
    facts : mapping
        Goes into ``model.json`` beside the model's own figures.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    store.write_bytes(store.join(location, "pca.npz"), npz(pca))
    for name, content in spark_files(pca).items():
        store.write_bytes(store.join(location, "spark", name), content)
    figures = {
        "model_id": pca.model_id,
        "k": pca.k,
        "n": pca.n,
        "rank": pca.rank,
        "standardized": pca.standardized,
        "variance_kept": float(pca.explained_variance_ratio.sum()),
    }
    store.write_bytes(store.join(location, "model.json"), json.dumps({**figures, **facts}, indent=2).encode())


def load(output: str, model_id: str) -> tuple[Pca, dict[str, Any]] | None:
    """Return a saved model and what ``model.json`` says; None if it is not there, torn, or another's.

    Of the standard deviation only what features are divided by was saved: 1 where they are not.
    """
    folder = store.join(output, layout.MODELS, model_id)
    try:
        said = json.loads(store.read_bytes(store.join(folder, "model.json")))
        with np.load(io.BytesIO(store.read_bytes(store.join(folder, "pca.npz")))) as kept:
            model = Pca(
                mean=kept["mean"],
                std=kept["scale"],
                standardized=said["standardized"],
                components=kept["components"],
                explained_variance=kept["explained_variance"],
                explained_variance_ratio=kept["explained_variance_ratio"],
                n=int(kept["n"]),
                rank=said["rank"],
            )
    except (FileNotFoundError, *store.DAMAGED_FILE_ERRORS):
        return None
    return (model, said) if model.model_id == model_id else None


def npz(pca: Pca) -> bytes:
    """Return a NumPy archive: ``(x - mean) / scale @ components.T`` projects rows without Spark."""
    sink = io.BytesIO()
    np.savez(
        sink,
        mean=pca.mean,
        scale=pca.scale,
        components=pca.components,
        explained_variance=pca.explained_variance,
        explained_variance_ratio=pca.explained_variance_ratio,
        n=np.int64(pca.n),
    )
    return sink.getvalue()


def spark_files(pca: Pca) -> dict[str, bytes]:
    """Return the files of a saved ``PipelineModel``: names below its folder, in the order to write them.

    The same model has the same bytes. The pipeline's own metadata comes last, for loading begins there: a
    model that is not yet whole does not load.
    """
    uid = f"fruits_{pca.model_id}"
    scaler_uid, pca_uid = f"{uid}_scaler", f"{uid}_pca"
    scaler, reduction = f"stages/0_{scaler_uid}", f"stages/1_{pca_uid}"
    scaling = {"inputCol": "features", "outputCol": "scaled", "withMean": True, "withStd": pca.standardized}
    reducing = {"inputCol": "scaled", "outputCol": "pca", "k": pca.k}
    defaults = {"outputCol": f"{scaler_uid}__output", "withMean": False, "withStd": True}
    return {
        **_data(scaler, std=pca.std, mean=pca.mean),
        **_metadata(f"{scaler}/", SCALER, scaler_uid, scaling, defaults),
        **_data(reduction, pc=pca.components, explainedVariance=pca.explained_variance_ratio),
        **_metadata(f"{reduction}/", PCA, pca_uid, reducing, {"outputCol": f"{pca_uid}__output"}),
        **_metadata("", PIPELINE, uid, {"stageUids": [scaler_uid, pca_uid]}, {}),
    }


def _metadata(
    below: str, kind: str, uid: str, params: Mapping[str, object], defaults: Mapping[str, object]
) -> dict[str, bytes]:
    """Return the files that say what a stage, or the pipeline, is: one line of JSON."""
    line = {
        "class": kind,
        "timestamp": 0,  # read by nobody; the time of writing would make two writings of a model differ
        "sparkVersion": SPARK,
        "uid": uid,
        "paramMap": params,
        "defaultParamMap": defaults,
    }
    text = json.dumps(line, separators=(",", ":")) + "\n"
    return {f"{below}metadata/{METADATA_FILE}": text.encode(), f"{below}metadata/{SUCCESS}": b""}


def _data(stage: str, **arrays: NDArray[np.float64]) -> dict[str, bytes]:
    """Return the files that hold a stage's vectors ``(d,)`` and matrices ``(k, d)``: Parquet of one row."""
    schema = pa.schema([(name, VECTOR if array.ndim == 1 else MATRIX) for name, array in arrays.items()])
    table = pa.Table.from_pylist([{name: _dense(array) for name, array in arrays.items()}], schema=schema)
    # Spark would read structs, not vectors and matrices, without its own schema beside Parquet's.
    described = json.dumps(_struct(schema), separators=(",", ":"))
    keys = {"org.apache.spark.version": SPARK, "org.apache.spark.sql.parquet.row.metadata": described}
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink, schema, compression="snappy", use_dictionary=False, store_schema=False
    ) as file:
        file.write_table(table)
        file.add_key_value_metadata(keys)
    return {f"{stage}/data/{DATA_FILE}": sink.getvalue(), f"{stage}/data/{SUCCESS}": b""}


def _dense(array: NDArray[np.float64]) -> dict[str, Any]:
    values = {"type": DENSE, "values": array.ravel()}
    if array.ndim == 1:
        return values
    # Spark's matrix is (d, k) by columns: the bytes of our rows (k, d).
    return {**values, "numRows": array.shape[1], "numCols": len(array), "isTransposed": False}


def _struct(fields: Iterable[pa.Field]) -> dict[str, object]:
    """Return Spark's JSON of a schema."""
    described = [
        {"name": field.name, "type": _type(field.type), "nullable": field.nullable, "metadata": {}}
        for field in fields
    ]
    return {"type": "struct", "fields": described}


def _type(kind: pa.DataType) -> object:
    if kind in _UDT:
        udt = _UDT[kind]
        return {
            "type": "udt",
            "class": f"org.apache.spark.ml.linalg.{udt}",
            "pyClass": f"pyspark.ml.linalg.{udt}",
            "sqlType": _struct(kind),
        }
    if pa.types.is_list(kind):
        return {"type": "array", "elementType": _type(kind.value_type), "containsNull": False}
    return _SPARK_NAME[kind]
