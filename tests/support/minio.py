"""MinIO, a real S3 server, for tests: one server, a new bucket for each test, and the job on it."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from pyspark.sql import SparkSession

from scripts.kubernetes import go_programs
from scripts.kubernetes.object_store import ObjectStore, running
from tests.support.s3_runs import S3Job, workers_told
from tests.support.s3_servers import make_bucket
from tests.support.spark_session import Run

LOG_CHARACTERS: Final = 4000


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Run MinIO, once, and build it if need be; without ``go`` its tests are skipped, but never in CI."""
    try:
        go_programs.minio()
    except go_programs.NoGoError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with running(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def minio_bucket(minio: ObjectStore, aws_environment: pytest.MonkeyPatch) -> str:
    """Point AWS clients, of this process and of its children, at MinIO; return a new bucket in Ireland."""
    for name, value in minio.environment().items():
        aws_environment.setenv(name, value)
    return make_bucket()


@pytest.fixture
def minio_job(
    minio: ObjectStore, minio_bucket: str, spark: SparkSession, run: Run, sample: Path
) -> Iterator[S3Job]:
    """Return the job on a new bucket of MinIO."""
    with workers_told(spark):
        yield S3Job(minio, minio_bucket, run, sample)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of MinIO's log to the report of a failed test that uses it."""
    report = yield
    server: Any = getattr(item, "funcargs", {}).get("minio")
    if report.failed and server is not None:
        report.sections.append(("MinIO's log", server.log.read_text()[-LOG_CHARACTERS:]))
    return report
