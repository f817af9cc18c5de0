"""The whole run on real photos: every photo has one row, and features, PCA and tables are right."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from pyspark.ml.feature import PCA
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from job.model import saved_model
from tests.job.maths.test_pca import assert_equals_numpy
from tests.support.spark_session import Run
from tests.support.tables import FEATURIZED, MATRIX, snapshot, table, vectors


@pytest.fixture(scope="module")
def output(whole: Path) -> Path:
    """Return the output of one run on the whole sample."""
    return whole


@pytest.fixture(scope="module")
def features(output: Path) -> pd.DataFrame:
    return table(output, FEATURIZED).reset_index()


@pytest.fixture(scope="module")
def record(output: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((output / "runs" / "whole.json").read_text())
    return loaded


def matrix(frame: pd.DataFrame, column: str = "features") -> NDArray[np.float64]:
    return np.vstack(list(frame[column])).astype(np.float64)


def photos_in(folder: Path) -> list[str]:
    return sorted(str(file) for file in folder.rglob("*.jpg"))


def test_every_photo_has_one_row_with_its_label_and_split(features: pd.DataFrame, sample: Path) -> None:
    photos = photos_in(sample)
    assert features["path"].tolist() == photos
    assert features["label"].tolist() == [Path(photo).parent.name for photo in photos]
    assert features["split"].tolist() == [Path(photo).parent.parent.name for photo in photos]
    assert (features[["width", "height"]] == 100).all(axis=None)
    assert (features["bytes"] == [Path(photo).stat().st_size for photo in photos]).all()
    assert features["run_id"].unique().tolist() == ["whole"]


def test_the_real_sample_is_1560_photos_of_26_kinds(features: pd.DataFrame, sample: Path) -> None:
    if not (sample / "SOURCES.tsv").exists():
        pytest.skip("the sample of Fruits-360 is not here: drawn photos stand in for it")
    assert len(features) == 1560
    assert features["label"].nunique() == 26
    assert features["split"].value_counts().to_dict() == {"Training": 1040, "Test": 520}


def test_pca_equals_eigh_of_the_features_covariance(
    features: pd.DataFrame, output: Path, record: dict[str, Any]
) -> None:
    model, _ = saved_model.load(str(output), record["model"]["model_id"]) or pytest.fail("the model is gone")
    assert_equals_numpy(model, matrix(features))
    shares = np.cumsum(model.explained_variance_ratio)
    assert shares[-1] >= 0.95 > shares[-2]


def test_pca_agrees_with_sparks_own(spark: SparkSession, output: Path, record: dict[str, Any]) -> None:
    (copy := output.parent / "photos-table").symlink_to(output / "photos")
    photos = spark.read.parquet(str(copy)).where("outcome = 'featurized'")
    rows = photos.select(array_to_vector(F.col("features")).alias("features"))
    k = min(20, record["model"]["components"])
    spark_model = PCA(k=k, inputCol="features", outputCol="pca").fit(rows)
    model = np.load(output / "models" / record["model"]["model_id"] / "pca.npz")
    ratios = model["explained_variance_ratio"][:k]
    np.testing.assert_allclose(spark_model.explainedVariance.toArray(), ratios, rtol=1e-6)
    cosines = np.abs(np.sum(spark_model.pc.toArray() * model["components"][:k].T, axis=0))
    assert cosines[:5].min() >= 1 - 1e-6


def test_the_matrix_is_the_projection_in_parquet_and_in_csv(
    features: pd.DataFrame, output: Path, record: dict[str, Any]
) -> None:
    model = np.load(output / "models" / record["model"]["model_id"] / "pca.npz")
    expected = (matrix(features) - model["mean"]) / model["scale"] @ model["components"].T
    reduced = table(output, MATRIX).reset_index()
    assert reduced["model_id"].unique().tolist() == [record["model"]["model_id"]]
    assert reduced[["path", "label", "split"]].equals(features[["path", "label", "split"]])
    np.testing.assert_allclose(matrix(reduced, "pca"), expected, atol=1e-5)
    parts = [pd.read_csv(file) for file in (output / "pca_csv").glob("*/*.csv")]
    lines = pd.concat(parts).sort_values("path", ignore_index=True)
    names = [f"pc_{number}" for number in range(1, record["model"]["components"] + 1)]
    assert lines.columns.tolist() == ["path", "label", "split", *names]
    assert lines["path"].tolist() == features["path"].tolist()
    np.testing.assert_allclose(lines[names].to_numpy(), matrix(reduced, "pca"), rtol=1e-6)


def test_features_do_not_depend_on_partitioning_order_or_limit(
    run: Run, sample: Path, tmp_path: Path, features: pd.DataFrame
) -> None:
    inputs = ["--input", sample / "Test", "--input", sample / "Training"]
    run(*inputs, "--output", tmp_path / "o", "--limit", 230, "--wave", 17)
    subset = table(tmp_path / "o", FEATURIZED)
    assert len(subset) == 230
    assert len(snapshot(tmp_path / "o").files) > 10
    expected = features.set_index("path").loc[subset.index]
    assert vectors(subset).tobytes() == vectors(expected).tobytes()
    assert (subset["sha256"].to_numpy() == expected["sha256"].to_numpy()).all()


def test_the_record_holds_counts_model_versions_and_durations(
    record: dict[str, Any], features: pd.DataFrame
) -> None:
    assert record["status"] == "completed"
    counts = record["counts"]
    assert counts["listed"] == counts["featurized"] == len(features)
    assert counts["rejected"] == counts["unchanged"] == counts["removed"] == 0
    assert counts["rows"] == record["model"]["rows_projected"] == len(features)
    assert record["model"]["fitted_now"] is True
    assert 0.95 <= record["model"]["variance_kept"] == record["model"]["variance_kept_when_fitted"]
    assert record["model"]["components"] < record["model"]["rank"] <= 1280
    assert record["versions"]["spark"][:4] in ("3.5.", "4.1.")
    assert "c009b1f1262c" in record["backbone"]
    assert record["backbone"] == features["backbone"].iloc[0]
    steps = ["inventory", "backbone", "spark", "featurize", "reconcile", "moments", "pca", "model", "project"]
    assert list(record["seconds"])[:9] == steps
    assert record["first_photo_at"] < record["finished_at"]


def test_both_engines_write_the_same_features(run: Run, sample: Path, tmp_path: Path) -> None:
    for engine in ("litert", "tensorflow"):
        run("--input", sample, "--output", tmp_path / engine, "--limit", 24, "--engine", engine)
    fast, reference = (table(tmp_path / engine, FEATURIZED) for engine in ("litert", "tensorflow"))
    assert fast.index.equals(reference.index)
    assert np.abs(matrix(fast) - matrix(reference)).max() <= 1e-4
    assert fast["backbone"].iloc[0] != reference["backbone"].iloc[0]


def test_parquet_is_plain_lists_of_floats_compressed_with_zstd(output: Path) -> None:
    file = pq.ParquetFile(next((output / "photos" / "outcome=featurized").iterdir()))
    assert str(file.schema_arrow.field("features").type).startswith("list<element: float")
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
