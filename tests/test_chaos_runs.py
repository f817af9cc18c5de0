"""The job killed at its worst moments, and on a faulty line: one plain run later, nothing shows of it."""

import io
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyspark
import pytest
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from scripts.s3_faults import Fault, Faults, When
from tests.conftest import DUMMY
from tests.s3_runs import BUCKET, PASSED_ON, Job, job_on_s3
from tests.spark_session import ROOT, Run
from tests.test_main import SECONDS, command
from tests.test_main import environment as job_environment

pytestmark = pytest.mark.spark

OF_A_RUN: Final = ["run_id"]  # the columns in which a table may differ from an undisturbed one


@pytest.fixture(scope="module")
def story(spark: SparkSession, run: Run, sample: Path) -> Iterator["Story"]:
    """Return a day after another: an output of 24 photos, then new, changed, bad and removed ones."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in DUMMY.items():
            patch.setenv(name, value)
        with job_on_s3(patch, spark, run, sample) as job:
            yield Story(job)


class Story:
    """The second day's work, to be done again and again from the same beginning."""

    def __init__(self, job: Job) -> None:
        self.job = job
        old = job.put(24)
        job.run("--run-id", "first", "--wave", 8)
        new, contents = job.put(16), job.server.contents(BUCKET)
        for key, other in zip(old[:6], new, strict=False):
            job.server.put(BUCKET, key, contents[other])
        for key in old[6:8]:
            job.server.put(BUCKET, key, contents[key][:500])
        self._beginning = job.server.contents(BUCKET)
        self.undisturbed, self.counts = self.plain_run()
        assert (self.counts["featurized"], self.counts["rejected"], self.counts["unchanged"]) == (22, 2, 16)

    def begin(self) -> None:
        """Put everything back."""
        self.job.server.faults.hooks.clear()
        with self.job.server.buckets.lock:
            for key in list(self.job.server.buckets[BUCKET].objects):
                self.job.server.buckets[BUCKET].delete(key)
        for key, data in self._beginning.items():
            self.job.server.put(BUCKET, key, data)

    def plain_run(self) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
        """Run the job without any harm, and return its tables and counts."""
        counts = self.job.run("--wave", 8, "--refit", "always", "--components", 5)["counts"]
        assert counts["listed"] == counts["featurized"] + counts["rejected"] + counts["unchanged"] == 40
        tables = {name: self.job.table(name) for name in ("features", "rejected", "pca")}
        return {name: table.drop(columns=OF_A_RUN, errors="ignore") for name, table in tables.items()}, counts

    def start(self, cache: Path, master: str, **more: str) -> "subprocess.Popen[str]":
        """Start the same run as a process of its own."""
        aws = {name: os.environ[name] for name in PASSED_ON}
        given = job_environment(cache) | aws | more
        given["PYSPARK_SUBMIT_ARGS"] = f"--master {master} pyspark-shell"
        return subprocess.Popen(
            command(*self.job.arguments("--wave", 8, "--refit", "always", "--components", 5)),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=given,
        )  # fmt: skip

    def check(self, found: dict[str, pd.DataFrame]) -> None:
        """Compare tables with those of the undisturbed run, bit by bit but for the matrix."""
        for name in ("features", "rejected"):
            theirs, ours = self.undisturbed[name], found[name]
            if name == "features":
                assert all(
                    a.tobytes() == b.tobytes()
                    for a, b in zip(ours["features"], theirs["features"], strict=True)
                )
                theirs, ours = theirs.drop(columns="features"), ours.drop(columns="features")
            pd.testing.assert_frame_equal(ours.drop(columns="modified"), theirs.drop(columns="modified"))
        assert found["pca"].index.equals(self.undisturbed["pca"].index)
        assert found["pca"]["model_id"].nunique() == 1
        self.check_moments(np.vstack(list(found["features"]["features"])).astype(np.float64))

    def check_moments(self, rows: NDArray[np.float64]) -> None:
        """Compare the kept moments with those of the rows that stand in features."""
        with np.load(io.BytesIO(self.job.server.contents(BUCKET)["out/moments/moments.npz"])) as kept:
            assert int(kept["n"]) == len(rows)
            centred = rows - rows.mean(axis=0)
            np.testing.assert_allclose(kept["mean"], rows.mean(axis=0), rtol=1e-9, atol=1e-12)
            lower = (centred.T @ centred)[np.tril_indices(rows.shape[1])]
            np.testing.assert_allclose(kept["scatter"], lower, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("keys", "nth", "when"),
    [
        ("out/features/part-*", 2, "before"),
        ("out/features/part-*-first.parquet", 1, "after"),
        ("out/rejected/part-*", 1, "before"),
        ("out/moments/moments.npz", 1, "after"),
        ("out/runs/*", 1, "before"),
    ],
    ids=["a wave", "a row replaced", "features and rejected", "the moments", "the commit"],
)
def test_a_driver_killed_at(story: Story, cache: Path, keys: str, nth: int, when: When) -> None:
    story.begin()
    driver = story.start(cache, "local[2]")
    killed: list[str] = []

    def kill() -> Fault:
        killed.append(keys)
        driver.kill()
        return Fault.RESET

    story.job.server.on("PUT", keys, nth, when, kill)
    output, _ = driver.communicate(timeout=SECONDS)
    assert driver.returncode == -signal.SIGKILL, output[-3000:]
    assert killed
    story.check(story.plain_run()[0])


def processes(wanted: Callable[[str], bool], above: int) -> list[int]:
    """Return the processes below another whose command lines are wanted, the youngest last."""
    parents, found = {}, []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if wanted((entry / "cmdline").read_text().replace("\0", " ")):
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue

    def is_below(pid: int) -> bool:
        while pid in parents and pid != above:
            pid = parents[pid]
        return pid == above

    return sorted(pid for pid in found if is_below(pid))


@pytest.mark.parametrize(
    ("master", "victim"),
    [("local[2,4]", "pyspark.daemon"), ("local-cluster[2,1,1024]", "CoarseGrainedExecutorBackend")],
    ids=["a worker", "an executor"],
)
def test_what_is_killed_in_a_run_costs_only_its_unfinished_work(
    story: Story, cache: Path, tmp_path: Path, master: str, victim: str
) -> None:
    story.begin()
    spark_home = str(Path(pyspark.__file__).parent)
    driver = story.start(cache, master, SPARK_HOME=spark_home, SPARK_WORKER_DIR=str(tmp_path))
    killed: list[int] = []

    def kill() -> Fault:
        killed.append(processes(lambda line: victim in line, driver.pid)[-1])
        os.kill(killed[0], signal.SIGKILL)
        return Fault.RESET

    story.job.server.requests.clear()
    story.job.server.on("PUT", "out/features/part-*", 2, "before", kill)
    output, _ = driver.communicate(timeout=SECONDS)
    assert driver.returncode == 0, output[-3000:]
    assert len(killed) == 1
    tables, counts = story.plain_run()
    assert counts["unchanged"] == 40, "the run itself had come to its end"
    story.check(tables)


def test_a_line_that_fails_in_every_way_costs_no_photo(
    aws_environment: pytest.MonkeyPatch, spark: SparkSession, run: Run, sample: Path
) -> None:
    with job_on_s3(aws_environment, spark, run, sample, Faults(0.05, seed=8)) as job:
        keys = job.put(60)
        record = job.run("--wave", 10)
        assert (record["counts"]["featurized"], record["counts"]["rejected"]) == (60, 0)
        assert sorted(job.table("features").index) == sorted(keys)
        assert set(job.server.faults.done) == {fault.name for fault in Fault}
