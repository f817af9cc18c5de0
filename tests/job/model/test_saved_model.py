"""A saved model: it is written without Spark, in Spark's own format, and plain PySpark loads it."""

import json
from pathlib import Path
from typing import Any, Final

import boto3
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from pyspark.ml import PipelineModel
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from job.maths.pca import Pca
from job.model import saved_model
from tests.support.s3_servers import Moto

FACTS: Final = {"backbone": "a network", "run_id": "a run"}
CONSTANT: Final = 5  # the feature that does not vary


def random_model(components: int, standardized: bool, width: int = 60) -> Pca:
    """Return a model of orthonormal directions, with one feature that does not vary."""
    generator = np.random.default_rng(components)
    directions, _ = np.linalg.qr(generator.normal(size=(width, components)))
    variances = np.sort(generator.uniform(1, 2, components))[::-1]
    std = generator.uniform(0.5, 3, width)
    std[CONSTANT] = 0.0
    return Pca(
        mean=generator.normal(size=width) * 10,
        std=std,
        standardized=standardized,
        components=np.ascontiguousarray(directions.T),
        explained_variance=variances,
        explained_variance_ratio=variances / (variances.sum() + 1),
        n=500,
        rank=width - 1,
    )


def rows_of(pca: Pca) -> NDArray[np.float64]:
    """Return rows that the model could have been fitted on."""
    noise = np.random.default_rng(1).normal(size=(30, len(pca.mean)))
    return noise * pca.std + pca.mean


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder, without Hadoop's checksums."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix != ".crc"]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def names_of(pca: Pca) -> list[str]:
    """Return the names of a model's files, in the order in which they are written."""
    scaler, reduction = f"stages/0_fruits_{pca.model_id}_scaler", f"stages/1_fruits_{pca.model_id}_pca"
    data = ["data/part-00000.snappy.parquet", "data/_SUCCESS"]
    metadata = ["metadata/part-00000.txt", "metadata/_SUCCESS"]
    stages = [f"{stage}/{name}" for stage in (scaler, reduction) for name in (*data, *metadata)]
    return ["pca.npz", *(f"spark/{name}" for name in (*stages, *metadata)), "model.json"]


def test_a_model_is_saved_for_numpy_and_spark_and_described_in_json(tmp_path: Path) -> None:
    pca = random_model(3, standardized=True)
    saved_model.save(pca, str(tmp_path), FACTS)
    files = contents(tmp_path)
    assert sorted(files) == sorted(names_of(pca))
    assert files["pca.npz"] == saved_model.npz_bytes(pca)
    figures = {"model_id": pca.model_id, "k": 3, "n": 500, "rank": 59, "standardized": True}
    variance_kept = float(pca.explained_variance_ratio.sum())
    assert json.loads(files["model.json"]) == {**figures, "variance_kept": variance_kept, **FACTS}


def test_the_same_model_has_the_same_bytes_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_model.save(random_model(3, standardized=False), str(tmp_path / "one"), FACTS)
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.time_ns", lambda: 2 * 10**18)
    saved_model.save(random_model(3, standardized=False), str(tmp_path / "two"), FACTS)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_in_s3_each_file_is_put_once_and_model_json_last(bucket: str, moto: Moto) -> None:
    pca = random_model(2, standardized=False)
    before = len(moto.requests())
    saved_model.save(pca, f"s3://{bucket}/out/{pca.model_id}", FACTS)
    requests = [line for line in moto.requests()[before:] if not line.startswith("HEAD ")]
    assert requests == [f"PUT /{bucket}/out/{pca.model_id}/{name}" for name in names_of(pca)]
    client = boto3.client("s3")
    answer = client.get_object(Bucket=bucket, Key=f"out/{pca.model_id}/spark/metadata/part-00000.txt")
    assert json.loads(answer["Body"].read())["uid"] == f"fruits_{pca.model_id}"


def loaded(spark: SparkSession, model: Path) -> Any:
    """Load a saved pipeline with the given session, which must be the active one."""
    assert SparkSession.getActiveSession() is spark
    return PipelineModel.load(f"file:{model}")


def transformed(spark: SparkSession, model: Any, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows' projections by a loaded model."""
    frame = spark.createDataFrame(list(enumerate(rows.tolist())), "row int, features array<double>")
    vectors = frame.withColumn("features", array_to_vector(F.col("features")))
    projections = model.transform(vectors).orderBy("row").select("pca").collect()
    return np.vstack([row["pca"].toArray() for row in projections])


# The second is as large as real models: its loadings exceed PyArrow's page of 1 MiB.
@pytest.mark.parametrize(("components", "standardized", "width"), [(1, False, 60), (50, True, 3000)])
def test_plain_pyspark_loads_the_model_and_projects_alike(
    spark: SparkSession, tmp_path: Path, components: int, standardized: bool, width: int
) -> None:
    pca = random_model(components, standardized, width)
    saved_model.save(pca, str(tmp_path / "a model é"), FACTS)
    model = loaded(spark, tmp_path / "a model é" / "spark")
    scaler, reduction = model.stages
    assert (model.uid, scaler.uid, reduction.uid) == tuple(
        f"fruits_{pca.model_id}{stage}" for stage in ("", "_scaler", "_pca")
    )
    assert (scaler.getInputCol(), scaler.getOutputCol()) == ("features", "scaled")
    assert (scaler.getWithMean(), scaler.getWithStd()) == (True, standardized)
    assert (reduction.getInputCol(), reduction.getOutputCol()) == ("scaled", "pca")
    assert reduction.getK() == components
    np.testing.assert_array_equal(scaler.mean.toArray(), pca.mean)
    np.testing.assert_array_equal(scaler.std.toArray(), pca.std)
    np.testing.assert_array_equal(reduction.pc.toArray(), pca.components.T)
    np.testing.assert_array_equal(reduction.explainedVariance.toArray(), pca.explained_variance_ratio)
    rows = rows_of(pca)
    np.testing.assert_allclose(transformed(spark, model, rows), pca.project(rows), rtol=1e-5, atol=1e-5)


def fields_of(saved: Path) -> dict[str, Any]:
    """Return the content of each folder of a saved pipeline, without values that differ on each save."""
    content: dict[str, Any] = {}
    for file in sorted(saved.rglob("part-*")):
        folder = str(file.parent.relative_to(saved))
        assert folder not in content
        if folder.endswith("metadata"):
            line = json.loads(file.read_text())
            assert type(line.pop("timestamp")) is int
            assert type(line.pop("sparkVersion")) is str
            if "outputCol" in (defaults := line["defaultParamMap"]):  # Python gives its object a random name
                defaults["outputCol"] = defaults["outputCol"].partition("__")[2]
            content[folder] = line
        else:
            parquet = pq.ParquetFile(file)
            keys = parquet.metadata.metadata
            del keys[b"org.apache.spark.version"]
            columns = [parquet.metadata.row_group(0).column(i) for i in range(parquet.metadata.num_columns)]
            content[folder] = {
                "keys": keys,
                "schema": parquet.schema_arrow.remove_metadata(),
                "compression": {column.compression for column in columns},
                "rows": parquet.read().to_pylist(),
            }
    return content


def test_spark_saves_the_same_fields_and_a_new_save_overwrites_them(
    spark: SparkSession, tmp_path: Path
) -> None:
    pca = random_model(4, standardized=True)
    saved_model.save(pca, str(tmp_path), FACTS)
    saved = tmp_path / "spark"
    fields = fields_of(saved)
    assert len(fields) == 5
    loaded(spark, saved).write().overwrite().save(f"file:{saved}")
    assert list((saved / "metadata").glob(".part-*.crc")), "Spark saved it, with checksums"
    assert fields_of(saved) == fields
    assert loaded(spark, saved).stages[1].getK() == 4
    saved_model.save(pca, str(tmp_path), FACTS)
    assert loaded(spark, saved).stages[1].getK() == 4, "the job's files replaced Spark's"
