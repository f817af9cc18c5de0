"""MinIO, a real S3 server, for tests: one server, a new bucket for each test, and the job on it."""

import os
import re
import secrets
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest
from pyspark.sql import SparkSession

from tests.support import minio_build
from tests.support.s3_runs import S3Job, workers_told
from tests.support.s3_servers import REGION, make_bucket
from tests.support.spark_session import Run

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

START_SECONDS: Final = 60
STOP_SECONDS: Final = 15
API: Final = re.compile(r"^API: (http://127\.0\.0\.1:\d+)", re.MULTILINE)
LOG_CHARACTERS: Final = 4000
DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Minio:
    """A running MinIO. Its password is not in its repr, which pytest prints."""

    url: str
    log: Path
    user: str = field(repr=False)
    password: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """Return the variables that point AWS clients at this server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.user,
            "AWS_SECRET_ACCESS_KEY": self.password,
            "AWS_REGION": REGION,
        }

    @cached_property
    def client(self) -> "S3Client":
        """A client that ignores the environment."""
        session = boto3.Session(self.user, self.password, region_name=REGION)
        client: S3Client = session.client("s3", endpoint_url=self.url)
        return client

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Put an object."""
        self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def contents(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Return all objects below a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return {key: self.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


@contextmanager
def running(program: Path, folder: Path) -> Iterator[Minio]:
    """Run MinIO on loopback, on a port of its own choice; its data are deleted at the end.

    It gets nothing of this process's environment, and contacts no other host.
    """
    user, password = secrets.token_hex(8), secrets.token_hex(16)
    data, log = folder / "data", folder / "log"
    environment = {
        "HOME": str(folder),
        "MINIO_ROOT_USER": user,
        "MINIO_ROOT_PASSWORD": password,
        "MINIO_SITE_REGION": REGION,  # otherwise its buckets are in no region
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "MINIO_CALLHOME_ENABLE": "off",
        "MINIO_CI_CD": "on",  # less memory
    }
    options = ("--address", "127.0.0.1:0", "--certs-dir", f"{folder}/certs")
    with log.open("wb") as file:
        process = subprocess.Popen(
            [program, "server", *options, data],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment,
        )  # fmt: skip
    try:
        yield Minio(_ready_url(process, log), log, user, password)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(data, ignore_errors=True)


def _ready_url(process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8")
        assert process.poll() is None, f"MinIO ended: {text[-LOG_CHARACTERS:]}"
        if (announced := API.search(text)) and _answers(f"{announced[1]}/minio/health/ready"):
            return announced[1]
        time.sleep(0.02)
    raise AssertionError(f"MinIO is not ready after {START_SECONDS} s: {text[-LOG_CHARACTERS:]}")


def _answers(url: str) -> bool:
    try:
        with DIRECT.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    """Run MinIO, once, and build it if need be; without ``go`` its tests are skipped, but never in CI."""
    try:
        program = minio_build.program()
    except minio_build.NoGoError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with running(program, tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def minio_bucket(minio: Minio, aws_environment: pytest.MonkeyPatch) -> str:
    """Point AWS clients, of this process and of its children, at MinIO; return a new bucket in Ireland."""
    for name, value in minio.environment().items():
        aws_environment.setenv(name, value)
    return make_bucket()


@pytest.fixture
def minio_job(
    minio: Minio, minio_bucket: str, spark: SparkSession, run: Run, sample: Path
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
