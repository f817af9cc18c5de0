"""Runs of the job on photos in S3, in this process: its workers are told where S3 is, too."""

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
PHOTOS: Final = "photos é"  # a prefix, and one that has to be percent-encoded
PASSED_ON: Final = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


class Objects(Protocol):
    """A server whose objects a test puts and looks at itself."""

    def put(self, bucket: str, key: str, data: bytes) -> None: ...

    def contents(self, bucket: str) -> dict[str, bytes]: ...


class S3Job:
    """The job on a bucket, whose photos a test puts, changes and deletes."""

    server: Objects

    def __init__(self, server: Objects, bucket: str, run: Run, sample: Path) -> None:
        self.server, self.bucket, self._run = server, bucket, run
        self._waiting = sorted(sample.rglob("*.jpg"))
        random.Random(5).shuffle(self._waiting)
        self.sample = sample

    def put(self, number: int) -> list[str]:
        """Put so many more photos, and return their keys."""
        photos, self._waiting = self._waiting[:number], self._waiting[number:]
        for photo in photos:
            self.server.put(self.bucket, self.key(photo), photo.read_bytes())
        return [self.key(photo) for photo in photos]

    def key(self, photo: Path) -> str:
        """Return where a photo of the sample is put."""
        return f"{PHOTOS}/{photo.relative_to(self.sample)}"

    def arguments(self, *options: object, output: str = "out") -> list[str]:
        """Return the job's options."""
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
        """Copy what is in an output now into a folder, and return where it is there."""
        for key, data in self.server.contents(self.bucket).items():
            if key.startswith(f"{output}/"):
                (folder / key).parent.mkdir(parents=True, exist_ok=True)
                (folder / key).write_bytes(data)
        return folder / output

    def table(self, name: str, output: str = "out") -> pd.DataFrame:
        """Return a table, in which each photo is once, by the photos' keys."""
        with tempfile.TemporaryDirectory() as folder:
            frame = tables.table(self.copy(Path(folder), output), name)
        frame.index = frame.index.str.removeprefix(f"s3://{self.bucket}/")
        return frame


class Job(S3Job):
    """The job on ``s3://fruits`` of the small server, which notes what it is asked."""

    server: Server

    def run(self, *options: object, output: str = "out") -> dict[str, Any]:
        """Run the job, forgetting first what the server was asked before."""
        self.server.requests.clear()
        return super().run(*options, output=output)

    def photos_read(self) -> list[str]:
        """Return the photos that were read since, each as often as it was."""
        return sorted(
            one.key
            for one in list(self.server.requests)
            if one.method == "GET" and one.key.startswith(PHOTOS)
        )


@contextmanager
def workers_told(spark: SparkSession) -> Iterator[None]:
    """Tell Spark's workers where S3 is, as this process's environment does now."""
    # Workers are started anew for another environment.
    of_workers = spark.sparkContext.environment
    before = dict(of_workers)
    of_workers.update({name: os.environ[name] for name in PASSED_ON})
    try:
        yield
    finally:
        of_workers.clear()
        of_workers.update(before)


@contextmanager
def job_on_s3(
    environment: pytest.MonkeyPatch, spark: SparkSession, run: Run, sample: Path, faults: Faults | None = None
) -> Iterator[Job]:
    """Run the small server, with an empty bucket.

    Parameters
    ----------
    environment : MonkeyPatch
        The fixture ``aws_environment``.
    """
    with running(buckets=(BUCKET,), faults=faults) as server:
        environment.setenv("AWS_ENDPOINT_URL", server.url)
        with workers_told(spark):
            yield Job(server, BUCKET, run, sample)
