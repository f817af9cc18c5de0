"""Daily commands on MinIO, a real S3 server: runs, an erasure, a compaction, two at once, and kills."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable
from pyarrow.fs import S3FileSystem

from job.table import takeover
from scripts.kubernetes.object_store import ObjectStore
from tests.support import drivers
from tests.support.drivers import SECONDS, Jvm
from tests.support.s3_runs import S3Job
from tests.support.tables import (
    FEATURIZED,
    REJECTED,
    assert_same,
    assert_whole,
    compact_table,
    counts,
    erase_photos,
)

pytestmark = pytest.mark.spark

ALIVE: Final = '{"POLL_SECONDS": 0.05, "HEARTBEAT_SECONDS": 0.1, "COMMIT_SECONDS": 0}'
OPTIONS: Final = ("--wave", 8, "--components", 3)


@pytest.fixture(scope="module")
def jvm(minio: ObjectStore) -> Iterator[Jvm]:
    """Run a JVM whose workers use MinIO."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in minio.environment().items():
            patch.setenv(name, value)
        with drivers.running_jvm() as running:
            yield running


def test_other_programs_read_the_table_after_runs_an_erasure_and_a_compaction(
    minio: ObjectStore, minio_job: S3Job, tmp_path: Path
) -> None:
    job, output = minio_job, f"s3://{minio_job.bucket}/out"
    keys = job.put(40)
    minio.put(job.bucket, keys[0], b"no photo")
    assert counts(job.run(*OPTIONS)) == (40, 0, 39, 1, 0)
    before = minio.contents(job.bucket, "out/photos/outcome")
    assert counts(job.run(*OPTIONS)) == (40, 40, 0, 0, 0)
    assert minio.contents(job.bucket, "out/photos/outcome") == before
    erased = [f"s3://{job.bucket}/{key}" for key in keys[:3]]
    assert erase_photos(output, erased)["rows"][FEATURIZED] == 2
    for key in keys[:3]:
        minio.client.delete_object(Bucket=job.bucket, Key=key)
    assert compact_table(output)["files_after"] == {FEATURIZED: 1, REJECTED: 0}
    assert counts(job.run(*OPTIONS)) == (37, 37, 0, 0, 0)
    assert sorted(job.table(FEATURIZED).index) == sorted(keys[3:])
    assert_whole(job.copy(tmp_path))

    settings = {**minio.environment(), "AWS_ALLOW_HTTP": "true"}
    uri = f"{output}/photos"
    paths = sorted(f"s3://{job.bucket}/{key}" for key in keys[3:])
    assert sorted(pl.scan_delta(uri, storage_options=settings).select("path").collect()["path"]) == paths
    table = DeltaTable(uri, storage_options=settings)
    assert sorted(table.to_pandas(columns=["path"])["path"]) == paths
    named = [name.removeprefix("s3://") for name in table.file_uris()]
    filesystem = S3FileSystem(
        endpoint_override=minio.url, access_key=minio.user, secret_key=minio.password, region="eu-west-1"
    )
    photos = duckdb.from_arrow(ds.dataset(named, filesystem=filesystem))
    assert photos.aggregate("count(DISTINCT path), count(*)").fetchall() == [(37, 37)]


def test_one_of_two_simultaneous_drivers_writes_and_the_other_is_refused(
    minio_job: S3Job, jvm: Jvm, cache: Path, tmp_path: Path
) -> None:
    keys, environment = minio_job.put(40), drivers.environment(cache) | jvm.environment
    both_drivers = [drivers.start(environment, *minio_job.arguments(*OPTIONS), waits=ALIVE) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(lambda driver: driver.communicate(timeout=SECONDS)[0], both_drivers))
    codes = [driver.returncode for driver in both_drivers]
    assert sorted(codes) == [0, 1], outputs
    *_, sentence = outputs[codes.index(1)].splitlines()
    assert sentence.startswith(f"error: output s3://{minio_job.bucket}/out is being written by run ")
    assert sorted(minio_job.table(FEATURIZED).index) == sorted(keys)
    assert_whole(minio_job.copy(tmp_path))


def test_a_run_completes_the_work_of_killed_drivers(
    minio_job: S3Job, jvm: Jvm, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "WATCH_SECONDS", 0.3)
    minio_job.put(40)
    environment = drivers.environment(cache) | jvm.environment
    for moment in ("spark_ready", "photos_featurized", "pca_fitted"):
        driver = drivers.start(environment, *minio_job.arguments(*OPTIONS, "--log-format", "json"))
        assert driver.stdout
        for line in driver.stdout:
            if f'"{moment}"' in line:
                driver.kill()
        assert driver.wait(SECONDS) == -signal.SIGKILL
        jvm.stop_spark()
    assert counts(minio_job.run(*OPTIONS)) == (40, 40, 0, 0, 0)
    minio_job.run(*OPTIONS, output="undisturbed é")
    assert_same(minio_job.copy(tmp_path), minio_job.copy(tmp_path, "undisturbed é"))
