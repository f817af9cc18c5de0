"""Runs that are killed, or whose requests fail: one plain run later, the output is complete."""

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
DATA_FILES: Final = "out/photos/outcome=*/part-000002-*"  # files of the disturbed driver, the second command
OPTIONS: Final = ("--wave", 8, "--components", 5, "--refit", "always")
KILLS: Final = 30
FEW_PUTS: Final = 24  # of a run that keeps its model


@pytest.fixture(scope="module")
def second_day(
    spark: SparkSession, run: Run, sample: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["SecondDay"]:
    """Return the second day's work: an output of 24 photos, then new, changed and bad ones."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in DUMMY.items():
            patch.setenv(name, value)
        patch.setattr(takeover, "WATCH_SECONDS", 0.5)
        patch.setattr(takeover, "POLL_SECONDS", 0.05)
        with job_on_s3(patch, spark, run, sample) as job, drivers.running_jvm() as jvm:
            yield SecondDay(job, jvm, cache, tmp_path_factory.mktemp("undisturbed"))


class SecondDay:
    """The second day's work, which each test does from the same initial state."""

    def __init__(self, job: Job, jvm: Jvm, cache: Path, folder: Path) -> None:
        self.job, self.jvm, self._cache = job, jvm, cache
        old = job.put(24)
        job.run("--run-id", "first", *OPTIONS)
        new, contents = job.put(16), job.server.contents(BUCKET)
        for key, other in zip(old[:6], new, strict=False):
            job.server.put(BUCKET, key, contents[other])
        for key in old[6:8]:
            job.server.put(BUCKET, key, contents[key][:500])
        self._initial_state = job.server.contents(BUCKET)
        assert counts(job.run(*OPTIONS)) == (40, 16, 22, 2, 0)
        self.puts = job.server.count("PUT")
        self._undisturbed = job.copy(folder)

    def begin(self) -> None:
        """Restore the initial state."""
        self.job.server.faults.hooks.clear()
        self.job.server.requests.clear()
        with self.job.server.buckets.lock:
            for key in list(self.job.server.buckets[BUCKET].objects):
                self.job.server.buckets[BUCKET].delete(key)
        for key, data in self._initial_state.items():
            self.job.server.put(BUCKET, key, data)

    def start(self, environment: dict[str, str], *options: object) -> "subprocess.Popen[str]":
        """Start the run in its own process."""
        arguments = self.job.arguments(*(options or OPTIONS))
        return drivers.start(drivers.environment(self._cache) | environment, *arguments)

    def check(self, folder: Path) -> None:
        """Run once more, and compare the output with the undisturbed one."""
        self.job.server.faults.hooks.clear()
        assert counts(self.job.run(*OPTIONS))[0] == 40
        assert_same(self.job.copy(folder), self._undisturbed)


def kill(driver: "subprocess.Popen[str]") -> Callable[[], Fault]:
    """Return a hook that kills a driver and leaves its request without an answer."""

    def kill_driver() -> Fault:
        driver.kill()
        return Fault.RESET

    return kill_driver


def wait_for_end(driver: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a driver to end, and return its exit code and output."""
    text, _ = driver.communicate(timeout=SECONDS)
    return driver.returncode, text


@pytest.mark.parametrize(
    ("method", "keys", "when"),
    [
        ("PUT", f"{LOG} 2", "after"),
        ("PUT", f"{LOG} 2", "before"),
        ("GET", f"{DATA_FILES} 1", "before"),
        ("PUT", "out/moments/moments.npz 1", "after"),
        ("PUT", "out/runs/*.json 1", "before"),
    ],
    ids=["the first wave", "the commit of a wave", "the last commit", "the moments", "the record"],
)
def test_a_killed_driver_leaves_an_output_that_one_run_completes(
    second_day: SecondDay, tmp_path: Path, method: str, keys: str, when: When
) -> None:
    second_day.begin()
    driver = second_day.start(second_day.jvm.environment)
    pattern, nth = keys.split()
    second_day.job.server.on(method, pattern, int(nth), when, kill(driver))
    code, text = wait_for_end(driver)
    assert code == -signal.SIGKILL, text[-3000:]
    second_day.jvm.stop_spark()
    second_day.check(tmp_path)


def youngest(word: str, session: int) -> int:
    """Return the youngest process of a session whose command contains a word."""
    lines = os.popen(f"ps -ww -s {session} -o pid=,args=").read().splitlines()
    return max(int(line.split()[0]) for line in lines if word in line)


@pytest.mark.parametrize(
    ("master", "victim"),
    [("local[2,4]", "pyspark.daemon"), ("local-cluster[2,1,1024]", "CoarseGrainedExecutorBackend")],
    ids=["a worker", "an executor"],
)
def test_a_killed_worker_or_executor_costs_only_its_unfinished_work(
    second_day: SecondDay, tmp_path: Path, master: str, victim: str
) -> None:
    second_day.begin()
    paths = {"SPARK_HOME": str(Path(pyspark.__file__).parent), "SPARK_WORKER_DIR": str(tmp_path / "spark")}
    driver = second_day.start({"PYSPARK_SUBMIT_ARGS": f"--master {master} pyspark-shell", **paths})
    killed: list[int] = []

    def kill_youngest() -> Fault:
        killed.append(youngest(victim, driver.pid))
        os.kill(killed[0], signal.SIGKILL)
        return Fault.RESET

    second_day.job.server.on("PUT", DATA_FILES, 2, "before", kill_youngest)
    code, text = wait_for_end(driver)
    assert (code, len(killed)) == (0, 1), text[-3000:]
    second_day.check(tmp_path)
    assert second_day.job.photos_read() == [], "the run was complete"


def test_an_overtaken_driver_does_no_harm_when_it_wakes(second_day: SecondDay, tmp_path: Path) -> None:
    second_day.begin()
    driver, server = second_day.start(second_day.jvm.environment), second_day.job.server
    is_asleep, is_overtaken, has_resumed = threading.Event(), threading.Event(), threading.Event()

    def sleep() -> None:
        driver.send_signal(signal.SIGSTOP)
        is_asleep.set()

    def hold() -> Fault | None:
        return Fault.SLOW_DOWN if is_asleep.is_set() and not is_overtaken.is_set() else None

    server.on("PUT", DATA_FILES, 1, "after", sleep)
    server.on("PUT", DATA_FILES, None, "before", hold)
    server.on("PUT", DATA_FILES.replace("2-", "3-"), 1, "after", is_overtaken.set)
    server.on("PUT", DATA_FILES, None, "after", lambda: has_resumed.set() if is_overtaken.is_set() else None)
    assert is_asleep.wait(SECONDS)
    assert counts(second_day.job.run(*OPTIONS))[0] == 40
    assert has_resumed.wait(SECONDS), "the overtaken driver's workers go on writing"
    driver.send_signal(signal.SIGCONT)
    code, text = wait_for_end(driver)
    assert code == 1, text[-3000:]
    (sentence,) = [line for line in text.splitlines() if line.startswith("error: ")]
    assert re.search("may not write to output .* any more: run .* has taken it over", sentence)
    assert "Traceback" not in text
    second_day.check(tmp_path)


def test_runs_killed_thirty_times_leave_the_same_output_as_one_run(
    second_day: SecondDay, tmp_path: Path
) -> None:
    second_day.begin()
    job, generator, kills = second_day.job, random.Random(3), 0
    options = (*OPTIONS[:4], "--prune", "--max-pruned", 1, "--max-rejected", 1)
    while kills < KILLS:
        job.put(2)
        photos = {key: data for key, data in job.server.contents(BUCKET).items() if key.startswith(PHOTOS)}
        other, changed, bad, deleted = generator.sample(sorted(photos), 4)
        job.server.put(BUCKET, changed, photos[other])
        job.server.put(BUCKET, bad, photos[bad][:300])
        with job.server.buckets.lock:
            job.server.buckets[BUCKET].delete(deleted)
        refit = generator.choice(("never", "never", "never", "always"))
        driver = second_day.start(second_day.jvm.environment, *options, "--refit", refit)
        nth = generator.randint(1, FEW_PUTS if refit == "never" else second_day.puts)
        job.server.on("PUT", "out/*", nth, generator.choice(("before", "after")), kill(driver))
        code, text = wait_for_end(driver)
        job.server.faults.hooks.clear()
        if code:
            assert code == -signal.SIGKILL, text[-3000:]
            kills += 1
            second_day.jvm.stop_spark()
    job.run(*options)
    job.run(*options, output="undisturbed")
    assert_same(job.copy(tmp_path), job.copy(tmp_path, "undisturbed"))


def test_faulty_requests_cost_no_photo(
    aws_environment: pytest.MonkeyPatch, spark: SparkSession, run: Run, sample: Path
) -> None:
    with job_on_s3(aws_environment, spark, run, sample, Faults(0.05, seed=8)) as job:
        keys = job.put(60)
        assert counts(job.run("--wave", 10)) == (60, 0, 60, 0, 0)
        assert sorted(job.table(FEATURIZED).index) == sorted(keys)
        assert set(job.server.faults.done) == {fault.name for fault in Fault}
