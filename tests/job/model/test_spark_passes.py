"""Passes of Spark's workers over the files of a table."""

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
    data_files = [add_file(str(tmp_path), number, 5) for number in range(count)]
    assert (count > spark_passes.MERGED_ON_DRIVER) is (count == 20)
    moments = spark_passes.moments(spark, str(tmp_path), data_files).features.total
    rows = np.vstack([features_of(f"/{number}/{row}") for number in range(count) for row in range(5)])
    rows = rows.astype(np.float64)
    centred = rows - rows.mean(axis=0)
    assert moments.n == len(rows)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.scatter, centred.T @ centred, rtol=0, atol=1e-9)
