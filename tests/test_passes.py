"""The passes of Spark's workers over tables that were written before them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from job import passes, tables
from job.backbone import FEATURES


@pytest.mark.parametrize("files", [3, 20], ids=["merged on the driver", "merged in a tree"])
def test_moments_of_many_files_are_those_of_all_rows(
    files: int, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "FILES_PER_SUM", 1)
    rows = np.random.default_rng(7).normal(3, 2, (files * 5, FEATURES)).astype(np.float32)
    names = []
    for number, part in enumerate(np.split(rows, files)):
        file = tmp_path / f"part-{number:06}.parquet"
        file.write_bytes(tables.parquet(pa.table({"features": tables.vectors(part)})))
        names.append(str(file))
    assert (files > passes.MERGED_ON_DRIVER) is (files == 20)
    found = passes.moments(spark, names)
    exact = rows.astype(np.float64)
    centred = exact - exact.mean(axis=0)
    assert found.n == len(rows)
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scatter, centred.T @ centred, rtol=0, atol=1e-9)
