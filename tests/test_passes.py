"""The passes of Spark's workers over tables that were written before them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from job import passes
from job.backbone import FEATURES
from job.table import files, layout, schema


@pytest.mark.parametrize("count", [3, 20], ids=["merged on the driver", "merged in a tree"])
def test_moments_of_many_files_are_those_of_all_rows(
    count: int, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "FILES_PER_SUM", 1)
    rows = np.random.default_rng(7).normal(3, 2, (count * 5, FEATURES)).astype(np.float32)
    written = []
    for number, part in enumerate(np.split(rows, count)):
        photos = pa.table({"path": list("abcde"), "features": files.vectors(part)})
        whole = pa.concat_tables([schema.PHOTOS.empty_table(), photos], promote_options="default")
        name = layout.data_path(layout.FEATURIZED, 1, number, 0)
        written.append(files.write(str(tmp_path), name, whole))
    assert (count > passes.MERGED_ON_DRIVER) is (count == 20)
    found = passes.moments(spark, str(tmp_path), written)
    exact = rows.astype(np.float64)
    centred = exact - exact.mean(axis=0)
    assert found.n == len(rows)
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scatter, centred.T @ centred, rtol=0, atol=1e-9)
