"""The suite's one Spark session, the fixtures that run the job on it, and the order of the tests."""

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any, Final

import pytest
from pyspark.sql import SparkSession

from job.cli.log import Log
from job.cli.settings import parse_settings
from job.run.pipeline import Pipeline
from job.spark import session

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / "build" / "test-cache"
# The markers of tests that run late, the latest first: in CI, MinIO and Kubernetes are built meanwhile.
LATE_MARKERS: Final = ("docker", "spark", "minio", "kubernetes")

Run = Callable[..., dict[str, Any]]


def pytest_configure() -> None:
    """Let Ctrl-C interrupt the suite and its children, which ignore it if a shell runs them in background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need Spark, the emulator, MinIO or Kubernetes, and let fast tests run first."""
    for item in items:
        for name in {"spark", "cloud", "minio", "kubernetes"} & {*getattr(item, "fixturenames", ())}:
            item.add_marker(name)
    items.sort(key=lambda item: [item.get_closest_marker(name) is not None for name in LATE_MARKERS])


@pytest.fixture(scope="session")
def cache() -> Path:
    """Return the tests' folder of weights and converted network; git ignores it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    return CACHE


@pytest.fixture(scope="session")
def spark(cache: Path) -> Iterator[SparkSession]:
    """Return a session on two cores with the job's own settings."""
    os.environ["PYSPARK_SUBMIT_ARGS"] = "--master local[2] pyspark-shell"
    # Without a cache: here, to write the class archive at the end would take longer than it saves.
    spark_session = session.start(os.environ, cache / "none")
    yield spark_session
    session.stop(spark_session)


@pytest.fixture(scope="session")
def run(spark: SparkSession, cache: Path) -> Run:
    """Return a function that runs the pipeline with the job's options and returns its record."""

    def run_job(*options: object) -> dict[str, Any]:
        settings = parse_settings([f"--cache={cache}", *map(str, options)], {})
        log = Log(settings.run_id, as_json=True, out=StringIO(), err=StringIO())
        return Pipeline(settings, log, lambda: spark).run()

    return run_job


@pytest.fixture(scope="session")
def whole(run: Run, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output of one run, ``whole``, on the whole sample; tests only read it."""
    folder = tmp_path_factory.mktemp("sample run é %20 #1")
    run("--input", sample, "--output", folder, "--run-id", "whole")
    return folder


@pytest.fixture
def more_photos(sample: Path, tmp_path: Path) -> Callable[..., list[Path]]:
    """Return a function that copies more photos into ``photos``, in a fixed random order."""
    waiting = sorted(sample.rglob("*.jpg"))
    random.Random(5).shuffle(waiting)

    def put(number: int) -> list[Path]:
        copies = []
        for photo in waiting[:number]:
            target = tmp_path / "photos" / photo.relative_to(sample)
            target.parent.mkdir(parents=True, exist_ok=True)
            copies.append(Path(shutil.copy(photo, target)))
        del waiting[:number]
        return copies

    return put


@pytest.fixture
def daily(run: Run, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that runs the job on the photos of :func:`more_photos`."""
    return lambda *options: run("--input", tmp_path / "photos", "--output", tmp_path / "out", *options)
