"""Fitting the PCA alone: the job's one pass against ``pyspark.ml.feature.PCA``, in one session, on one table.

The session is Spark's own with its defaults, above all the JVM's: under the job's settings, which suit a JVM
that does little, Spark's class would be slower than anybody else sees it. Run by ``bench``: ``python
scripts/bench_pca.py SCRATCH --rows N --files F --components K --times T`` prints its figures as JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

if not __package__:  # run as a file: let it find the repository
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from job import passes, pca, session, tables
from job.backbone import FEATURES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RANK = 60  # of the synthetic features, before noise: real ones need about as many for 85 % of their variance


def write_features(folder: Path, rows: int, files: int) -> None:
    """Write a table like ``features/``: non-negative numbers, of low rank with noise, in so many files."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(RANK, FEATURES))
    folder.mkdir(parents=True)
    for number, part in enumerate(np.array_split(np.arange(rows), files)):
        n = len(part)
        dense = rng.normal(size=(n, RANK)) @ loadings + rng.normal(size=(n, FEATURES))
        matrix = np.maximum(dense, 0).astype(np.float32)
        names = [f"/photos/Training/kind {row % 131}/{row}_100.jpg" for row in part]
        table = pa.table(
            {
                "path": names,
                "label": [name.split("/")[-2] for name in names],
                "split": ["Training"] * n,
                "etag": [f"{row:032x}" for row in part],
                "bytes": pa.array(5000 + part),
                "modified": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * n, pa.timestamp("us", tz="UTC")),
                "sha256": [f"{row:064x}" for row in part],
                "width": pa.array([100] * n, pa.int32()),
                "height": pa.array([100] * n, pa.int32()),
                "features": tables.vectors(matrix),
                "backbone": ["synthetic"] * n,
                "run_id": ["bench"] * n,
            }
        )
        pq.write_table(
            table, folder / f"part-{number:05}.parquet", compression="zstd", use_dictionary=["label"]
        )


def ours(spark: "SparkSession", location: str, k: int) -> NDArray[np.float64]:
    """Fit as the job does and return the explained variance ratios ``(k,)``."""
    return pca.fit(
        passes.moments(spark, sorted(map(str, Path(location).glob("*.parquet")))), k, 0.95, False
    ).explained_variance_ratio


def spark_ml(spark: "SparkSession", location: str, k: int) -> NDArray[np.float64]:
    """Fit Spark's own PCA and return the explained variance ratios ``(k,)``."""
    from pyspark.ml.feature import PCA  # noqa: PLC0415
    from pyspark.ml.functions import array_to_vector  # noqa: PLC0415
    from pyspark.sql import functions as F  # noqa: N812, PLC0415

    rows = spark.read.parquet(f"file:{location}").select(array_to_vector(F.col("features")).alias("vector"))
    shares: NDArray[np.float64] = (
        PCA(k=k, inputCol="vector", outputCol="pca").fit(rows).explainedVariance.toArray()
    )
    return shares


def compare(spark: "SparkSession", location: str, k: int, times: int) -> dict[str, Any]:
    """Fit with both, in turn, and return every run's seconds and the largest difference of their results."""
    seconds: dict[str, list[float]] = {"ours": [], "other": []}
    shares = []
    for _ in range(times):
        for name, fit in (("ours", ours), ("other", spark_ml)):
            spent, found = _timed(lambda fit=fit: fit(spark, location, k))  # type: ignore[misc]
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
    parser = argparse.ArgumentParser(prog="bench_pca", description="Time two ways to fit a PCA.")
    parser.add_argument("scratch", type=Path, help="a folder that may be filled")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=80)
    parser.add_argument("--components", type=int, default=100)
    parser.add_argument("--times", type=int, default=2, help="runs of each")
    given = parser.parse_args(arguments)
    folder = given.scratch.resolve() / "features"
    write_features(folder, given.rows, given.files)
    spark = start()
    result = compare(spark, str(folder), given.components, given.times)
    spark.stop()
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
