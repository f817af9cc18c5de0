"""Fitting the PCA alone: the job's one pass against ``pyspark.ml.feature.PCA``, in one session, on one table.

The session is Spark's own with its defaults, above all the JVM's: under the job's settings, which suit a JVM
that does little, Spark's class would be slower than anybody else sees it. Run by ``bench``: ``python
scripts/bench/pca.py SCRATCH --rows N --files F --components K --times T`` prints its figures as JSON.
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
from job.model import passes
from job.network.backbone import FEATURES
from job.spark import session
from job.table import files, layout
from job.table.layout import DataFile
from scripts.bench import synthetic_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

RANK = 60  # of the synthetic features, before noise: real ones need about as many for 85 % of their variance


def write_features(output: str, rows: int, parts: int) -> list[DataFile]:
    """Write so many files of a table's rows: non-negative numbers, of low rank with noise."""
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
    return pca.fit(passes.moments(spark, output, written), k, 0.95, False).explained_variance_ratio


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
    """Fit with both, in turn, and return every run's seconds and the largest difference of their results."""
    seconds: dict[str, list[float]] = {"ours": [], "other": []}
    shares = []
    sides = {"ours": lambda: ours(spark, output, written, k), "other": lambda: spark_ml(spark, output, k)}
    for _ in range(times):
        for name, fit in sides.items():
            spent, found = _timed(fit)
            seconds[name].append(round(spent, 3))
            shares.append(found)
    difference = max(float(np.abs(found - shares[0]).max()) for found in shares)
    return {**seconds, "difference": difference}


def _timed(act: Callable[[], NDArray[np.float64]]) -> tuple[float, NDArray[np.float64]]:
    start = time.monotonic()
    result = act()
    return time.monotonic() - start, result


def start() -> "SparkSession":
    """Start a session with Spark's defaults and what the job sets for its workers."""
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
    given = parser.parse_args(arguments)
    output = str(given.scratch.resolve())
    written = write_features(output, given.rows, given.files)
    spark = start()
    result = compare(spark, output, written, given.components, given.times)
    spark.stop()
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
