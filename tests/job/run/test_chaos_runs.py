"""The job killed at its worst moments, and on a faulty line: one plain run later, nothing shows of it."""

import os
import random
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pyspark
import pytest
from pyspark.sql import SparkSession

from job.table import takeover
from scripts.s3_server.faults import Fault, Faults, When
from tests.conftest import DUMMY
from tests.support import drivers
from tests.support.drivers import SECONDS, Jvm
from tests.support.s3_runs import BUCKET, PHOTOS, Job, job_on_s3
from tests.support.spark_session import Run
from tests.support.tables import FEATURIZED, assert_same, counts

pytestmark = pytest.mark.spark

LOG: Final = "out/photos/_delta_log/*.json"
WRITTEN: Final = "out/photos/outcome=*/part-000002-*"  # by the driver that comes to harm, the second command
OPTIONS: Final = ("--wave", 8, "--components", 5, "--refit", "always")
KILLS: Final = 30
FEW_PUTS: Final = 24  # of a run that keeps its model


@pytest.fixture(scope="module")
def story(
    spark: SparkSession, run: Run, sample: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Story"]:
    """Return a day after another: an output of 24 photos, then new, changed and bad ones."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in DUMMY.items():
            patch.setenv(name, value)
        patch.setattr(takeover, "WATCH_SECONDS", 0.5)
        patch.setattr(takeover, "POLL_SECONDS", 0.05)
        with job_on_s3(patch, spark, run, sample) as job, drivers.running_jvm() as jvm:
            yield Story(job, jvm, cache, tmp_path_factory.mktemp("undisturbed"))


class Story:
    """The second day's work, to be done again and again from the same beginning."""

    def __init__(self, job: Job, jvm: Jvm, cache: Path, folder: Path) -> None:
        self.job, self.jvm, self._cache = job, jvm, cache
        old = job.put(24)
        job.run("--run-id", "first", *OPTIONS)
        new, contents = job.put(16), job.server.contents(BUCKET)
        for key, other in zip(old[:6], new, strict=False):
            job.server.put(BUCKET, key, contents[other])
        for key in old[6:8]:
            job.server.put(BUCKET, key, contents[key][:500])
        self._beginning = job.server.contents(BUCKET)
        assert counts(job.run(*OPTIONS)) == (40, 16, 22, 2, 0)
        self.puts = job.server.count("PUT")
        self._undisturbed = job.copy(folder)

    def begin(self) -> None:
        """Put everything back."""
        self.job.server.faults.hooks.clear()
        self.job.server.requests.clear()
        with self.job.server.buckets.lock:
            for key in list(self.job.server.buckets[BUCKET].objects):
                self.job.server.buckets[BUCKET].delete(key)
        for key, data in self._beginning.items():
            self.job.server.put(BUCKET, key, data)

    def start(self, more: dict[str, str], *options: object) -> "subprocess.Popen[str]":
        """Start the same run as a process of its own."""
        words = self.job.arguments(*(options or OPTIONS))
        return drivers.start(drivers.environment(self._cache) | more, *words)

    def check(self, folder: Path) -> None:
        """Compare what one plain run leaves with what the undisturbed one left."""
        self.job.server.faults.hooks.clear()
        assert counts(self.job.run(*OPTIONS))[0] == 40
        assert_same(self.job.copy(folder), self._undisturbed)


def kill(driver: "subprocess.Popen[str]") -> Callable[[], Fault]:
    """Return what kills a driver, and leaves the request at which it does so without an answer."""

    def act() -> Fault:
        driver.kill()
        return Fault.RESET

    return act


def ended(driver: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a driver to end, and return its exit code and its words."""
    words, _ = driver.communicate(timeout=SECONDS)
    return driver.returncode, words


@pytest.mark.parametrize(
    ("method", "keys", "when"),
    [
        ("PUT", f"{LOG} 2", "after"),
        ("PUT", f"{LOG} 2", "before"),
        ("GET", f"{WRITTEN} 1", "before"),
        ("PUT", "out/moments/moments.npz 1", "after"),
        ("PUT", "out/runs/*.json 1", "before"),
    ],
    ids=["the first wave", "the commit of a wave", "the last commit", "the moments", "the record"],
)
def test_a_driver_killed_at(story: Story, tmp_path: Path, method: str, keys: str, when: When) -> None:
    story.begin()
    driver = story.start(story.jvm.environment)
    pattern, nth = keys.split()
    story.job.server.on(method, pattern, int(nth), when, kill(driver))
    code, words = ended(driver)
    assert code == -signal.SIGKILL, words[-3000:]
    story.jvm.stop_spark()
    story.check(tmp_path)


def youngest(word: str, session: int) -> int:
    """Return the youngest process of a session with a word in its command."""
    lines = os.popen(f"ps -ww -s {session} -o pid=,args=").read().splitlines()
    return max(int(line.split()[0]) for line in lines if word in line)


@pytest.mark.parametrize(
    ("master", "victim"),
    [("local[2,4]", "pyspark.daemon"), ("local-cluster[2,1,1024]", "CoarseGrainedExecutorBackend")],
    ids=["a worker", "an executor"],
)
def test_what_is_killed_in_a_run_costs_only_its_unfinished_work(
    story: Story, tmp_path: Path, master: str, victim: str
) -> None:
    story.begin()
    more = {"SPARK_HOME": str(Path(pyspark.__file__).parent), "SPARK_WORKER_DIR": str(tmp_path / "spark")}
    driver = story.start({"PYSPARK_SUBMIT_ARGS": f"--master {master} pyspark-shell", **more})
    killed: list[int] = []

    def kill_one() -> Fault:
        killed.append(youngest(victim, driver.pid))
        os.kill(killed[0], signal.SIGKILL)
        return Fault.RESET

    story.job.server.on("PUT", WRITTEN, 2, "before", kill_one)
    code, words = ended(driver)
    assert (code, len(killed)) == (0, 1), words[-3000:]
    story.check(tmp_path)
    assert story.job.photos_read() == [], "the run itself had come to its end"


def test_a_driver_that_is_overtaken_in_its_sleep_wakes_and_does_no_harm(story: Story, tmp_path: Path) -> None:
    story.begin()
    driver, server = story.start(story.jvm.environment), story.job.server
    asleep, overtaken, went_on = threading.Event(), threading.Event(), threading.Event()

    def sleep() -> None:
        driver.send_signal(signal.SIGSTOP)
        asleep.set()

    def hold() -> Fault | None:
        return Fault.SLOW_DOWN if asleep.is_set() and not overtaken.is_set() else None

    server.on("PUT", WRITTEN, 1, "after", sleep)
    server.on("PUT", WRITTEN, None, "before", hold)
    server.on("PUT", WRITTEN.replace("2-", "3-"), 1, "after", overtaken.set)
    server.on("PUT", WRITTEN, None, "after", lambda: went_on.set() if overtaken.is_set() else None)
    assert asleep.wait(SECONDS)
    assert counts(story.job.run(*OPTIONS))[0] == 40
    assert went_on.wait(SECONDS), "its workers wrote when another was the writer"
    driver.send_signal(signal.SIGCONT)
    code, words = ended(driver)
    assert code == 1, words[-3000:]
    (sentence,) = [line for line in words.splitlines() if line.startswith("error: ")]
    assert re.search("may not write to output .* any more: run .* has taken it over", sentence)
    assert "Traceback" not in words
    story.check(tmp_path)


def test_killed_thirty_times_in_days_of_changes_the_job_leaves_what_one_run_leaves(
    story: Story, tmp_path: Path
) -> None:
    story.begin()
    job, draw, killed = story.job, random.Random(3), 0
    options = (*OPTIONS[:4], "--prune", "--max-pruned", 1, "--max-rejected", 1)
    while killed < KILLS:
        job.put(2)
        photos = {key: data for key, data in job.server.contents(BUCKET).items() if key.startswith(PHOTOS)}
        other, changed, bad, gone = draw.sample(sorted(photos), 4)
        job.server.put(BUCKET, changed, photos[other])
        job.server.put(BUCKET, bad, photos[bad][:300])
        with job.server.buckets.lock:
            job.server.buckets[BUCKET].delete(gone)
        refit = draw.choice(("never", "never", "never", "always"))
        driver = story.start(story.jvm.environment, *options, "--refit", refit)
        nth = draw.randint(1, FEW_PUTS if refit == "never" else story.puts)
        job.server.on("PUT", "out/*", nth, draw.choice(("before", "after")), kill(driver))
        code, words = ended(driver)
        job.server.faults.hooks.clear()
        if code:
            assert code == -signal.SIGKILL, words[-3000:]
            killed += 1
            story.jvm.stop_spark()
    job.run(*options)
    job.run(*options, output="undisturbed")
    assert_same(job.copy(tmp_path), job.copy(tmp_path, "undisturbed"))


def test_a_line_that_fails_in_every_way_costs_no_photo(
    aws_environment: pytest.MonkeyPatch, spark: SparkSession, run: Run, sample: Path
) -> None:
    with job_on_s3(aws_environment, spark, run, sample, Faults(0.05, seed=8)) as job:
        keys = job.put(60)
        assert counts(job.run("--wave", 10)) == (60, 0, 60, 0, 0)
        assert sorted(job.table(FEATURIZED).index) == sorted(keys)
        assert set(job.server.faults.done) == {fault.name for fault in Fault}
