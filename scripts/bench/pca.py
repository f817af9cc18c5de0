"""Measure (d): times the job's PCA fit and ``pyspark.ml.feature.PCA`` on one table, in one session.

The session keeps Spark's defaults, because the job's settings for the JVM would slow down Spark's class.
``python -m scripts.bench.pca SCRATCH --rows N --files F --components K --times T`` prints figures as JSON.
"""

import argparse
import json
import sys
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

RANK = (
    60  # rank of the synthetic features before noise: real ones need about as many for 85 % of the variance
)


def write_features(output: str, rows: int, parts: int) -> list[DataFile]:
    """Write `rows` rows in `parts` files: non-negative features of low rank with noise."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(RANK, FEATURES))

    def tables() -> Iterator[pa.Table]:
        for part in np.array_split(np.arange(rows), parts):
            dense = rng.normal(size=(len(part), RANK)) @ loadings + rng.normal(size=(len(part), FEATURES))
            matrix = np.maximum(dense, 0).astype(np.float32)
            yield synthetic_table.rows(path=list(map(str, part)), features=files.vectors(matrix))

    return list(synthetic_table.write_files(output, tables()))


def ours(spark: "SparkSession", output: str, written: Sequence[DataFile], k: int) -> NDArray[np.float64]:
    """Fit as the job does and return the explained variance ratios ``(k,)``."""
    return pca.fit(spark_passes.moments(spark, output, written), k, 0.95, False).explained_variance_ratio


def spark_ml(spark: "SparkSession", output: str, k: int) -> NDArray[np.float64]:
    """Fit Spark's own PCA and return the explained variance ratios ``(k,)``."""
    from pyspark.ml.feature import PCA  # noqa: PLC0415

    fitted = PCA(k=k, inputCol="vector", outputCol="pca").fit(vectors(spark, output))
    shares: NDArray[np.float64] = fitted.explainedVariance.toArray()
    return shares


def vectors(spark: "SparkSession", output: str) -> "DataFrame":
    """Return the features as Spark's own vectors, in the column ``vector``."""
    from pyspark.ml.functions import array_to_vector  # noqa: PLC0415
    from pyspark.sql import functions as F  # noqa: N812, PLC0415

    table = spark.read.parquet(f"file:{output}/{layout.PHOTOS}")
    return table.select(array_to_vector(F.col("features")).alias("vector"))


def compare(
    spark: "SparkSession", output: str, written: Sequence[DataFile], k: int, times: int
) -> dict[str, Any]:
    """Fit with both in turn; return the seconds of each run, and the largest difference of the ratios."""
    seconds: dict[str, list[float]] = {"ours": [], "other": []}
    shares = []
    sides = {"ours": lambda: ours(spark, output, written, k), "other": lambda: spark_ml(spark, output, k)}
    for _ in range(times):
        for name, fit in sides.items():
            spent, ratios = _timed(fit)
            seconds[name].append(round(spent, 3))
            shares.append(ratios)
    difference = max(float(np.abs(ratios - shares[0]).max()) for ratios in shares)
    return {**seconds, "difference": difference}


def _timed(fit: Callable[[], NDArray[np.float64]]) -> tuple[float, NDArray[np.float64]]:
    start = time.monotonic()
    result = fit()
    return time.monotonic() - start, result


def start() -> "SparkSession":
    """Start a session with Spark's defaults and the job's settings for its workers."""
    from pyspark.sql import SparkSession  # noqa: PLC0415

    settings = {**session.ALWAYS, "spark.ui.enabled": "false", "spark.driver.memory": "4g"}
    builder = SparkSession.builder
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table, compare, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Time two ways to fit a PCA.")
    parser.add_argument("scratch", type=Path, help="a folder that may be filled")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=80)
    parser.add_argument("--components", type=int, default=100)
    parser.add_argument("--times", type=int, default=2, help="runs of each")
    options = parser.parse_args(arguments)
    output = str(options.scratch.resolve())
    written = write_features(output, options.rows, options.files)
    spark = start()
    result = compare(spark, output, written, options.components, options.times)
    spark.stop()
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
