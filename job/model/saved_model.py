"""Saves and loads a fitted PCA: ``pca.npz`` for NumPy, and a ``PipelineModel`` that plain PySpark loads.

It is the last step of a fit, on the driver. The files are written directly, because Spark's own saving would
start its SQL engine and rename files through Hadoop.

``pyspark.ml.feature.PCAModel`` does not subtract a mean, so a ``StandardScalerModel`` comes first. The
pipeline reads the vector column ``features`` and adds ``pca``.
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

# The version of the saved form, by which Spark chooses how to read it. Later versions, such as 4.1, read it
# too.
SPARK: Final = "3.5.6"
PIPELINE: Final = "org.apache.spark.ml.PipelineModel"
SCALER: Final = "org.apache.spark.ml.feature.StandardScalerModel"
PCA: Final = "org.apache.spark.ml.feature.PCAModel"
# Other names than Spark's ``part-00000``, whose checksum may lie in the folder if Spark saved there before,
# and would not match. Readers take any file of the folder.
METADATA_FILE: Final = "part-00000.txt"
DATA_FILE: Final = "part-00000.snappy.parquet"
SUCCESS: Final = "_SUCCESS"
DENSE: Final = 1  # of vectors and matrices; sparse is 0

_INTEGERS: Final = pa.list_(pa.field("element", pa.int32(), nullable=False))
_DOUBLES: Final = pa.list_(pa.field("element", pa.float64(), nullable=False))
# The SQL types of VectorUDT and MatrixUDT in org.apache.spark.ml.linalg.
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
    location : str
        The model's own folder, named by its id: a folder that exists has the same content.
    facts : mapping
        More fields of ``model.json``, beside the model's own.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    store.write_bytes(store.join(location, "pca.npz"), npz_bytes(pca))
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
    """Return a saved model and its ``model.json``; None if it is missing, damaged, or has another id.

    Only the divisors of the features were saved, so `std` is 1 for features that are not divided.
    """
    record = load_record(output, model_id)
    if record is None:
        return None
    try:
        arrays_file = store.read_bytes(store.join(output, layout.MODELS, model_id, "pca.npz"))
        with np.load(io.BytesIO(arrays_file)) as arrays:
            model = Pca(
                mean=arrays["mean"],
                std=arrays["scale"],
                standardized=record["standardized"],
                components=arrays["components"],
                explained_variance=arrays["explained_variance"],
                explained_variance_ratio=arrays["explained_variance_ratio"],
                n=int(arrays["n"]),
                rank=record["rank"],
            )
    except (FileNotFoundError, *store.DAMAGED_FILE_ERRORS):
        return None
    return (model, record) if model.model_id == model_id else None


def load_record(output: str, model_id: str) -> dict[str, Any] | None:
    """Return the ``model.json`` of a saved model; None if it is missing or damaged."""
    try:
        record = json.loads(store.read_bytes(store.join(output, layout.MODELS, model_id, "model.json")))
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def npz_bytes(pca: Pca) -> bytes:
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
    """Return the files of a saved ``PipelineModel``, by name below its folder, in the order to write them.

    The same model has the same bytes. The pipeline's metadata comes last, because loading begins with it: an
    incomplete model does not load.
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
    """Return the metadata files of a stage or of the pipeline: one line of JSON."""
    line = {
        "class": kind,
        "timestamp": 0,  # not the time, so that the same model has the same bytes
        "sparkVersion": SPARK,
        "uid": uid,
        "paramMap": params,
        "defaultParamMap": defaults,
    }
    text = json.dumps(line, separators=(",", ":")) + "\n"
    return {f"{below}metadata/{METADATA_FILE}": text.encode(), f"{below}metadata/{SUCCESS}": b""}


def _data(stage: str, **arrays: NDArray[np.float64]) -> dict[str, bytes]:
    """Return the files of a stage's vectors ``(d,)`` and matrices ``(k, d)``: one row of Parquet."""
    schema = pa.schema([(name, VECTOR if array.ndim == 1 else MATRIX) for name, array in arrays.items()])
    table = pa.Table.from_pylist([{name: _dense(array) for name, array in arrays.items()}], schema=schema)
    # With its own schema beside Parquet's, Spark reads vectors and matrices, not structs.
    spark_schema = json.dumps(_spark_struct(schema), separators=(",", ":"))
    keys = {"org.apache.spark.version": SPARK, "org.apache.spark.sql.parquet.row.metadata": spark_schema}
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
    # Spark's matrix is (d, k) in column order: the same bytes as (k, d) in row order.
    return {**values, "numRows": array.shape[1], "numCols": len(array), "isTransposed": False}


def _spark_struct(fields: Iterable[pa.Field]) -> dict[str, object]:
    """Return a schema as Spark's JSON."""
    spark_fields = [
        {"name": field.name, "type": _spark_type(field.type), "nullable": field.nullable, "metadata": {}}
        for field in fields
    ]
    return {"type": "struct", "fields": spark_fields}


def _spark_type(kind: pa.DataType) -> object:
    if kind in _UDT:
        udt = _UDT[kind]
        return {
            "type": "udt",
            "class": f"org.apache.spark.ml.linalg.{udt}",
            "pyClass": f"pyspark.ml.linalg.{udt}",
            "sqlType": _spark_struct(kind),
        }
    if pa.types.is_list(kind):
        return {"type": "array", "elementType": _spark_type(kind.value_type), "containsNull": False}
    return _SPARK_NAME[kind]
