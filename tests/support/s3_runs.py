"""Runs of the job on photos in S3, in this process; its workers get the same variables for S3."""

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from scripts.s3_server.__main__ import running
from scripts.s3_server.faults import Faults
from scripts.s3_server.server import Server
from tests.support import tables
from tests.support.spark_session import Run

BUCKET: Final = "fruits"
PHOTOS: Final = "photos é"  # a prefix that needs percent-encoding
WORKER_VARIABLES: Final = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


class Objects(Protocol):
    """A server whose objects a test puts and reads."""

    def put(self, bucket: str, key: str, data: bytes) -> None: ...

    def contents(self, bucket: str) -> dict[str, bytes]: ...


class S3Job:
    """The job on the photos of a bucket, which a test puts, changes and deletes."""

    server: Objects

    def __init__(self, server: Objects, bucket: str, run: Run, sample: Path) -> None:
        self.server, self.bucket, self._run = server, bucket, run
        self._waiting = sorted(sample.rglob("*.jpg"))
        random.Random(5).shuffle(self._waiting)
        self.sample = sample

    def put(self, number: int) -> list[str]:
        """Put `number` more photos, and return their keys."""
        photos, self._waiting = self._waiting[:number], self._waiting[number:]
        for photo in photos:
            self.server.put(self.bucket, self.key(photo), photo.read_bytes())
        return [self.key(photo) for photo in photos]

    def key(self, photo: Path) -> str:
        """Return the key of a photo of the sample."""
        return f"{PHOTOS}/{photo.relative_to(self.sample)}"

    def arguments(self, *options: object, output: str = "out") -> list[str]:
        """Return the job's arguments."""
        return [
            "--input",
            f"s3://{self.bucket}/{PHOTOS}",
            "--output",
            f"s3a://{self.bucket}/{output}",
            *map(str, options),
        ]

    def run(self, *options: object, output: str = "out") -> dict[str, Any]:
        """Run the job, and return the run's record."""
        return self._run(*self.arguments(*options, output=output))

    def copy(self, folder: Path, output: str = "out") -> Path:
        """Copy an output into a folder, and return the copy's path."""
        for key, data in self.server.contents(self.bucket).items():
            if key.startswith(f"{output}/"):
                (folder / key).parent.mkdir(parents=True, exist_ok=True)
                (folder / key).write_bytes(data)
        return folder / output

    def table(self, name: str, output: str = "out") -> pd.DataFrame:
        """Return a table by the photos' keys; each photo has one row."""
        with tempfile.TemporaryDirectory() as folder:
            frame = tables.table(self.copy(Path(folder), output), name)
        frame.index = frame.index.str.removeprefix(f"s3://{self.bucket}/")
        return frame


class Job(S3Job):
    """The job on ``s3://fruits`` of the small server, which records requests."""

    server: Server

    def run(self, *options: object, output: str = "out") -> dict[str, Any]:
        """Clear the server's record of requests, then run the job."""
        self.server.requests.clear()
        return super().run(*options, output=output)

    def photos_read(self) -> list[str]:
        """Return the photos that the last run read, each as often as it was read."""
        return sorted(
            request.key
            for request in list(self.server.requests)
            if request.method == "GET" and request.key.startswith(PHOTOS)
        )


@contextmanager
def workers_told(spark: SparkSession) -> Iterator[None]:
    """Give Spark's workers this process's variables for S3."""
    # Spark starts new workers if their environment changes.
    environment = spark.sparkContext.environment
    original = dict(environment)
    environment.update({name: os.environ[name] for name in WORKER_VARIABLES})
    try:
        yield
    finally:
        environment.clear()
        environment.update(original)


@contextmanager
def job_on_s3(
    environment: pytest.MonkeyPatch, spark: SparkSession, run: Run, sample: Path, faults: Faults | None = None
) -> Iterator[Job]:
    """Run the small server with an empty bucket; `environment` is the fixture ``aws_environment``."""
    with running(buckets=(BUCKET,), faults=faults) as server:
        environment.setenv("AWS_ENDPOINT_URL", server.url)
        with workers_told(spark):
            yield Job(server, BUCKET, run, sample)
