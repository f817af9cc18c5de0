"""What the benchmark makes up: outputs that the job takes for its own, lists, and S3 servers."""

import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from job import passes
from job.table import commits
from job.walk import walk
from scripts import bench_compare, bench_growth, bench_pca, bench_photos, bench_s3
from scripts.bench_run import BenchError, environment

REAL = np.random.default_rng(1).gamma(1.0, size=(400, 1280)).astype(np.float32)


@pytest.mark.spark
def test_the_job_takes_a_made_up_output_for_its_own(
    sample: Path, tmp_path: Path, run: Callable[..., dict[str, Any]]
) -> None:
    for photo in bench_photos.spread(bench_photos.find(sample), 5):
        target = tmp_path / "photos" / photo.relative_to(sample)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo, target)
    output, listed = str(tmp_path / "output"), tmp_path / "list.parquet"
    photos = list(walk(str(tmp_path / "photos"), output, set()))
    bench_growth.write_list(listed, photos, 1100)
    bench_growth.write_output(output, photos, 1100, REAL)
    known = (commits.load(output) or commits.Snapshot()).files
    assert sorted(file.rows for file in known.values()) == [100, 1000]
    found = run("--manifest", listed, "--output", output, "--max-variance-loss", "1")
    assert [found["counts"][name] for name in ("unchanged", "featurized", "rows")] == [1100, 5, 1105]
    assert not found["model"]["fitted_now"] and found["model"]["rows_projected"] == 5
    assert known.items() <= (commits.load(output) or commits.Snapshot()).files.items()


def test_a_made_up_table_is_read_by_spark_as_by_us(tmp_path: Path, spark: SparkSession) -> None:
    written = bench_pca.write_features(str(tmp_path), 90, 4)
    ours = passes.moments(spark, str(tmp_path), written)
    theirs = np.array([row[0].toArray() for row in bench_pca.vectors(spark, str(tmp_path)).collect()])
    np.testing.assert_allclose(theirs.mean(axis=0), ours.mean)
    assert ours.n == len(theirs) == 90 and len(bench_pca.ours(spark, str(tmp_path), written, 10)) == 10


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a list of 1,000 photos, and a table that knows most of them."""
    monkeypatch.setattr(bench_compare, "EACH", 20)
    bench_compare.make(tmp_path / "made", 1000, 30, 7)
    return tmp_path / "made"


def test_what_is_new_changed_and_missing_in_a_made_up_list_is_found(compared: Path) -> None:
    paths = pq.read_table(compared / "list.parquet")["path"].to_pylist()
    assert len(set(paths)) == 1000 and paths != sorted(paths)
    found = bench_compare.open_twice(compared) | bench_compare.compare(compared, 1000, 2)
    assert (found["new_or_changed"], found["missing"], found["mistakes"]) == (40, 20, 0)
    assert (found["files"], found["commits"]) == (40, 6), "30 rows a file, 7 files a commit"
    assert min(found["seconds"], *found["opened"].values()) > 0


def test_a_comparison_that_errs_is_seen(compared: Path) -> None:
    first = min((compared / "output/photos").rglob("*.parquet"))
    rows = pq.read_table(first, partitioning=None)
    pq.write_table(rows.slice(1), first)  # a photo less is known, and so taken for new
    assert bench_compare.compare(compared, 1000, 2)["mistakes"] == 1


def test_a_server_serves_a_folder_and_is_gone_afterwards(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.jpg").write_bytes(b"photo")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with bench_s3.serving("near", tmp_path / "photos", 0, tmp_path, environment(1)) as server:
        assert direct.open(f"{server.url}/near/photos/1.jpg").read() == b"photo"
        assert direct.open(f"{server.url}/tables?list-type=2").status == 200
        assert ("GET", "near", "photos/1.jpg") in server.requests() and len(server.requests()) == 2
        server.forget()
        assert server.requests() == []
        if Path("/proc/self/stat").exists():
            assert (server.cpu_seconds() or 0) > 0
    with pytest.raises(urllib.error.URLError):
        direct.open(server.url)
    assert (tmp_path / "photos/1.jpg").exists()


def test_a_server_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    late: Any = "much"
    with (
        pytest.raises(BenchError, match=r"did not start: .*invalid float value"),
        bench_s3.serving("near", tmp_path, late, tmp_path, environment(1)),
    ):
        pass


def test_the_job_goes_to_the_server_with_nothing_of_the_users_own_for_aws() -> None:
    base = {"AWS_PROFILE": "mine", "AWS_SESSION_TOKEN": "secret", "PATH": "/bin"}
    given = bench_s3.Server("near", "http://127.0.0.1:1", 0).environment(base)
    assert given["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1" and given["PATH"] == "/bin"
    assert given["AWS_CONFIG_FILE"] == os.devnull
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN"} & set(given)


def test_sparks_reader_reads_every_photo(tmp_path: Path, spark: SparkSession) -> None:
    for number in range(3):
        (tmp_path / "deep" / str(number)).mkdir(parents=True)
        (tmp_path / "deep" / str(number) / "1.jpg").write_bytes(b"x" * (10 + number))
    count, size, seconds = bench_s3.read(spark, f"file:{tmp_path}")
    assert (count, size) == (3, 33) and seconds > 0
