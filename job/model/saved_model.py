"""Saves and loads a fitted PCA: ``pca.npz`` for NumPy, and a ``PipelineModel`` that plain PySpark loads.

It is the last step of a fit, on the driver.

``pyspark.ml.feature.PCAModel`` does not subtract a mean, so a ``StandardScalerModel`` comes first. The
pipeline reads the vector column ``features`` and adds ``pca``.
"""

import io
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from job.maths.pca import Pca
from job.model import spark_pipeline
from job.model.spark_pipeline import Stage
from job.storage import store
from job.table import layout

SCALER: Final = "org.apache.spark.ml.feature.StandardScalerModel"
PCA: Final = "org.apache.spark.ml.feature.PCAModel"


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
    """Return the files of a saved ``PipelineModel``, by name below its folder, in the order to write them."""
    uid = f"fruits_{pca.model_id}"
    scaler_uid, pca_uid = f"{uid}_scaler", f"{uid}_pca"
    scaler = Stage(
        SCALER,
        scaler_uid,
        {"inputCol": "features", "outputCol": "scaled", "withMean": True, "withStd": pca.standardized},
        {"outputCol": f"{scaler_uid}__output", "withMean": False, "withStd": True},
        {"std": pca.std, "mean": pca.mean},
    )
    reduction = Stage(
        PCA,
        pca_uid,
        {"inputCol": "scaled", "outputCol": "pca", "k": pca.k},
        {"outputCol": f"{pca_uid}__output"},
        {"pc": pca.components, "explainedVariance": pca.explained_variance_ratio},
    )
    return spark_pipeline.files(uid, [scaler, reduction])
