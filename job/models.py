"""A fitted PCA for others to use: ``pca.npz`` for NumPy, and a ``PipelineModel`` that plain PySpark loads.

``pyspark.ml.feature.PCAModel`` neither holds nor subtracts a mean, so a ``StandardScalerModel`` stands before
it. The pipeline reads the vector column ``features`` and adds ``pca``.
"""

import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from job import store
from job.pca import Pca

if TYPE_CHECKING:
    from pyspark.ml import PipelineModel
    from pyspark.sql import SparkSession


def save(pca: Pca, location: str, spark: "SparkSession", facts: Mapping[str, object]) -> None:
    """Write ``pca.npz``, ``spark/`` and, last, ``model.json`` below `location`.

    Parameters
    ----------
    pca : Pca
    location : str
        The model's own folder, named by its id: an earlier one of that id has the same content.
    spark : SparkSession
    facts : mapping
        Goes into ``model.json`` beside the model's own figures.
    """
    store.write_bytes(store.join(location, "pca.npz"), npz(pca))
    _save_spark_model(pipeline_model(pca, spark), store.join(location, "spark"), spark)
    figures = {
        "model_id": pca.model_id,
        "k": pca.k,
        "n": pca.n,
        "rank": pca.rank,
        "standardized": pca.standardized,
        "variance_kept": float(pca.explained_variance_ratio.sum()),
    }
    store.write_bytes(store.join(location, "model.json"), json.dumps({**figures, **facts}, indent=2).encode())


def _save_spark_model(model: "PipelineModel", location: str, spark: "SparkSession") -> None:
    """Let Spark write a model: in its place, or, if that is in S3 and Spark on this machine, by way of here.

    PySpark from PyPI has no file system for S3. EMR's has one, and there a folder here would be of no use.
    """
    if not store.is_s3(location):
        model.write().overwrite().save(f"file:{location}")
    elif not str(spark.sparkContext.master).startswith("local"):
        model.write().overwrite().save(location)
    else:
        with tempfile.TemporaryDirectory() as folder:
            model.write().overwrite().save(f"file:{folder}/spark")
            for file in sorted(Path(folder).rglob("*")):
                if file.is_file() and not file.name.endswith(".crc"):
                    name = str(file.relative_to(f"{folder}/spark"))
                    store.write_bytes(store.join(location, name), file.read_bytes())


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


def pipeline_model(pca: Pca, spark: "SparkSession") -> "PipelineModel":
    """Return the model as ``StandardScalerModel`` and ``PCAModel`` in an ordinary ``PipelineModel``.

    PySpark has no constructor for a fitted model, so both are made on the JVM's side.
    """
    from pyspark.ml import PipelineModel  # noqa: PLC0415
    from pyspark.ml.common import _py2java  # noqa: PLC0415
    from pyspark.ml.feature import PCAModel, StandardScalerModel  # noqa: PLC0415
    from pyspark.ml.linalg import DenseMatrix, DenseVector, Vectors  # noqa: PLC0415

    context = spark.sparkContext
    java: Any = context._jvm
    feature = java.org.apache.spark.ml.feature
    uid = f"fruits_{pca.model_id}"

    def vector(values: "np.ndarray[Any, Any]") -> Any:
        return _py2java(context, Vectors.dense(values))

    scaler_uid = f"{uid}_scaler"
    scaler = StandardScalerModel(feature.StandardScalerModel(scaler_uid, vector(pca.std), vector(pca.mean)))
    scaler._resetUid(scaler_uid)
    scaler._set(inputCol="features", outputCol="scaled", withMean=True, withStd=pca.standardized)
    # Spark's matrix is (d, k) by columns: the bytes of our rows (k, d).
    loadings = DenseMatrix(pca.components.shape[1], pca.k, pca.components.ravel())
    shares = DenseVector(pca.explained_variance_ratio)
    pca_uid = f"{uid}_pca"
    model = PCAModel(feature.PCAModel(pca_uid, _py2java(context, loadings), _py2java(context, shares)))
    model._resetUid(pca_uid)
    model._set(k=pca.k, inputCol="scaled", outputCol="pca")
    return PipelineModel([scaler, model])
