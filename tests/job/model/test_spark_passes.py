"""The passes of Spark's workers over tables that were written before them."""

from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from job.model import spark_passes
from tests.support.outputs import add_file, features_of


@pytest.mark.parametrize("count", [3, 20], ids=["merged on the driver", "merged in a tree"])
def test_moments_of_many_files_are_those_of_all_rows(
    count: int, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spark_passes, "FILES_PER_SUM", 1)
    written = [add_file(str(tmp_path), number, 5) for number in range(count)]
    assert (count > spark_passes.MERGED_ON_DRIVER) is (count == 20)
    found = spark_passes.moments(spark, str(tmp_path), written)
    exact = np.vstack([features_of(f"/{number}/{row}") for number in range(count) for row in range(5)])
    exact = exact.astype(np.float64)
    centred = exact - exact.mean(axis=0)
    assert found.n == len(exact)
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scatter, centred.T @ centred, rtol=0, atol=1e-9)
