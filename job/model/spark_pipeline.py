"""Writes a ``PipelineModel`` in Spark's own format, without Spark: of PCA and of the classifier.

Spark's own saving would start its SQL engine and rename files through Hadoop. A stage is one line of JSON,
and one row of Parquet if it has learned something.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

# The version of the saved form, by which Spark chooses how to read it. Later versions, such as 4.1, read it
# too.
SPARK: Final = "3.5.6"
PIPELINE: Final = "org.apache.spark.ml.PipelineModel"
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

Value = bool | int | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a pipeline, as Spark's class of that `kind` reads it.

    Attributes
    ----------
    kind : str
        The name of the Java class.
    uid : str
        Unique in the pipeline.
    params, defaults : mapping
        Parameters set, and the defaults of others.
    data : mapping
        What the model has learned: vectors ``(d,)``, matrices ``(k, d)``, which Spark calls ``(d, k)``, and
        single integers and booleans.
    """

    kind: str
    uid: str
    params: Mapping[str, object]
    defaults: Mapping[str, object] = field(default_factory=dict)
    data: Mapping[str, Value] = field(default_factory=dict)


def files(uid: str, stages: Sequence[Stage]) -> dict[str, bytes]:
    """Return the files of a saved pipeline, by name below its folder, in the order to write them.

    The same stages have the same bytes. The pipeline's metadata comes last, because loading begins with it:
    an incomplete pipeline does not load.
    """
    content: dict[str, bytes] = {}
    for number, stage in enumerate(stages):
        folder = f"stages/{number}_{stage.uid}/"
        if stage.data:
            content |= _data(folder, stage.data)
        content |= _metadata(folder, stage)
    return content | _metadata("", Stage(PIPELINE, uid, {"stageUids": [stage.uid for stage in stages]}))


def _metadata(below: str, stage: Stage) -> dict[str, bytes]:
    """Return the metadata files of a stage or of the pipeline: one line of JSON."""
    line = {
        "class": stage.kind,
        "timestamp": 0,  # not the time, so that the same model has the same bytes
        "sparkVersion": SPARK,
        "uid": stage.uid,
        "paramMap": stage.params,
        "defaultParamMap": stage.defaults,
    }
    text = json.dumps(line, separators=(",", ":")) + "\n"
    return {f"{below}metadata/{METADATA_FILE}": text.encode(), f"{below}metadata/{SUCCESS}": b""}


def _data(below: str, data: Mapping[str, Value]) -> dict[str, bytes]:
    """Return the files of what a stage has learned: one row of Parquet."""
    schema = pa.schema([_field(name, value) for name, value in data.items()])
    row = {name: _dense(value) if isinstance(value, np.ndarray) else value for name, value in data.items()}
    # With its own schema beside Parquet's, Spark reads vectors and matrices, not structs.
    spark_schema = json.dumps(_spark_struct(schema), separators=(",", ":"))
    keys = {"org.apache.spark.version": SPARK, "org.apache.spark.sql.parquet.row.metadata": spark_schema}
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink, schema, compression="snappy", use_dictionary=False, store_schema=False
    ) as file:
        file.write_table(pa.Table.from_pylist([row], schema=schema))
        file.add_key_value_metadata(keys)
    return {f"{below}data/{DATA_FILE}": sink.getvalue(), f"{below}data/{SUCCESS}": b""}


def _field(name: str, value: Value) -> pa.Field:
    if isinstance(value, np.ndarray):
        return pa.field(name, VECTOR if value.ndim == 1 else MATRIX)
    return pa.field(name, pa.bool_() if isinstance(value, bool) else pa.int32(), nullable=False)


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
