"""Measure (d), PCA fit: times the job's fit and ``pyspark.ml.feature.PCA`` on one table, in one session.

The session keeps Spark's defaults, because the job's settings for the JVM would slow down Spark's class.
``python -m scripts.bench.pca SCRATCH --rows N --files F --components K --runs N`` prints figures as JSON.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from job.maths import pca
from job.model import spark_passes
from job.network.backbone import FEATURES
from job.spark import session
from job.table import files, layout
from job.table.layout import DataFile
from scripts.bench import synthetic_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# The rank of the synthetic features before noise: real ones need about as many for 85 % of the variance.
RANK = 60


def write_features(output: str, rows: int, parts: int) -> list[DataFile]:
    """Write `rows` rows in `parts` files: non-negative features of low rank with noise."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(RANK, FEATURES))

    def tables() -> Iterator[pa.Table]:
        for numbers in np.array_split(np.arange(rows), parts):
            scores, noise = (rng.normal(size=(len(numbers), columns)) for columns in (RANK, FEATURES))
            matrix = np.maximum(scores @ loadings + noise, 0).astype(np.float32)
            yield synthetic_table.rows(path=list(map(str, numbers)), features=files.vectors(matrix))

    return list(synthetic_table.write_files(output, tables()))


def fit_job(
    spark: "SparkSession", output: str, data_files: Sequence[DataFile], k: int
) -> NDArray[np.float64]:
    """Fit as the job does and return the explained variance ratios ``(k,)``."""
    moments = spark_passes.moments(spark, output, data_files).features.total
    return pca.fit(moments, k, 0.95, False).explained_variance_ratio


def fit_spark_ml(spark: "SparkSession", output: str, k: int) -> NDArray[np.float64]:
    """Fit Spark's own PCA and return the explained variance ratios ``(k,)``."""
    from pyspark.ml.feature import PCA  # noqa: PLC0415

    model = PCA(k=k, inputCol="vector", outputCol="pca").fit(vectors(spark, output))
    ratios: NDArray[np.float64] = model.explainedVariance.toArray()
    return ratios


def vectors(spark: "SparkSession", output: str) -> "DataFrame":
    """Return the features as Spark's own vectors, in the column ``vector``."""
    from pyspark.ml.functions import array_to_vector  # noqa: PLC0415
    from pyspark.sql import functions as F  # noqa: N812, PLC0415

    table = spark.read.parquet(f"file:{output}/{layout.PHOTOS}")
    return table.select(array_to_vector(F.col("features")).alias("vector"))


def compare(
    spark: "SparkSession", output: str, data_files: Sequence[DataFile], k: int, runs: int
) -> dict[str, Any]:
    """Fit with both in turn; return the seconds of each run, and the largest difference of the ratios."""
    fits: dict[str, Callable[[], NDArray[np.float64]]] = {
        "ours": lambda: fit_job(spark, output, data_files, k),
        "other": lambda: fit_spark_ml(spark, output, k),
    }
    seconds: dict[str, list[float]] = {name: [] for name in fits}
    ratios = []
    for _ in range(runs):
        for name, fit in fits.items():
            start = time.monotonic()
            ratios.append(fit())
            seconds[name].append(round(time.monotonic() - start, 3))
    difference = max(float(np.abs(others - ratios[0]).max()) for others in ratios)
    return {**seconds, "difference": difference}


def start_session() -> "SparkSession":
    """Start a session with Spark's defaults and the job's settings for its workers."""
    from pyspark.sql import SparkSession  # noqa: PLC0415

    settings: dict[str, Any] = {**session.ALWAYS, "spark.ui.enabled": "false", "spark.driver.memory": "4g"}
    spark = SparkSession.builder.config(map=settings).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def main() -> None:
    """Write the table, compare, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Time two ways to fit a PCA.")
    parser.add_argument("scratch", type=Path, help="a folder for the table")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=80)
    parser.add_argument("--components", type=int, default=100)
    parser.add_argument("--runs", type=int, default=2, help="runs of each")
    options = parser.parse_args()
    output = str(options.scratch.resolve())
    data_files = write_features(output, options.rows, options.files)
    spark = start_session()
    figures = compare(spark, output, data_files, options.components, options.runs)
    spark.stop()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
