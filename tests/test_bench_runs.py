"""The benchmark's runs: what is seen of a process tree, that nothing of it is left, that both sides agree."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from job import backbone
from job.decode import decode
from scripts import bench_photos, bench_run, bench_sides, bench_textbook
from scripts.bench_ceiling import ceiling
from scripts.bench_run import BenchError, environment, run
from scripts.bench_sides import QUICK, Bench
from tests.network import real_weights

WORKERS = """
import mmap, os, subprocess, sys, time
role, done = sys.argv[1], os.path.join(os.path.dirname(__file__), "done")
def hold(size):
    held = mmap.mmap(-1, size)
    held.write(bytes(size))
    held.close()  # a peak that is over
if role == "driver":
    daemon = os.path.join(os.path.dirname(__file__), "pyspark.daemon")
    for script, role in ((__file__, "java"), (daemon, "daemon")):
        subprocess.Popen([sys.executable, script, role])
    while not os.path.exists(done):
        time.sleep(0.1)
    time.sleep(2.5)
elif role == "java":
    hold(150_000_000)
    time.sleep(60)
elif role == "daemon":
    os.setpgid(0, 0)
    if not os.fork():
        hold(60_000_000)
        open(done, "w").close()
    time.sleep(60)
"""


def spark_like(folder: Path, seconds: str = "2.5") -> list[str]:
    """Return a command whose processes are a driver, a large child of it, a daemon, and a worker of that."""
    for name in ("driver.py", "pyspark.daemon"):  # workers are told by this name, and by a parent of the same
        (folder / name).write_text(WORKERS.replace("2.5", seconds))
    return [sys.executable, str(folder / "driver.py"), "driver"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_workers_peak_is_seen_and_nothing_of_a_run_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_run, "LAST_SECONDS", 1.0)
    ran = run(spark_like(tmp_path), environment(1), "it")
    assert ran.peak_bytes is not None and 60_000_000 <= ran.peak_bytes <= 100_000_000
    assert running(str(tmp_path)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_an_interrupt_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_run, "LAST_SECONDS", 1.0)
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(spark_like(tmp_path, seconds="60"), environment(1), "it")
    assert time.monotonic() - start < bench_run.GRACE_SECONDS, "it was asked to end before it was killed"
    assert running(str(tmp_path)) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def running(word: str) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [command] if word in command else []
    return found


def test_a_run_that_fails_tells_its_last_words() -> None:
    command = [sys.executable, "-c", "import sys; print('fine'); sys.exit('no such fruit')"]
    with pytest.raises(BenchError, match=r"the job ended with 1: .*(no such fruit|fine)"):
        run(command, environment(1), "the job")


@pytest.mark.parametrize("words", ["", '{"event": "photos_listed"}\n'])
def test_a_job_without_a_summary_is_an_error(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_sides, "run", lambda *_: bench_run.Ran(1.0, 0.0, words, None))
    sides = Bench(lambda: ([], tmp_path), tmp_path, 2, QUICK, 1, tmp_path, lambda _: None, warm=True)
    with pytest.raises(BenchError, match="without its summary"):
        sides.command("--input", tmp_path, "--output", tmp_path / "output")


def test_the_job_is_run_with_nothing_of_the_users_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_LIMIT", "5")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    kept = environment(3)
    assert kept["PYSPARK_SUBMIT_ARGS"] == "--master local[3] pyspark-shell"
    assert not {"FRUITS_LIMIT", "PYTHONDONTWRITEBYTECODE"} & set(kept)


def test_the_textbook_and_the_job_give_the_same_features(sample: Path, cache: Path) -> None:
    files = bench_photos.spread(bench_photos.find(sample), 5)
    contents = [file.read_bytes() for file in files]
    book = bench_textbook.features(backbone.keras_model(real_weights()), contents)
    program = backbone.load("litert", None, cache)
    network = backbone.network(program.engine, program.key, lambda: program.payload)
    ours = np.stack([network(decode(content).pixels) for content in contents])
    assert book.shape == (5, 1280)
    assert np.abs(book - ours).max() < 1e-3
    assert np.abs(ours).max() > 1


def test_the_ceiling_runs_every_photo_once_in_as_many_processes(sample: Path, cache: Path) -> None:
    program = backbone.load("litert", None, cache)
    photos = [str(file) for file in bench_photos.spread(bench_photos.find(sample), 9)]
    assert 0 < ceiling(photos, program, 2) < 30
    assert ceiling(photos[:1], program, 2) > 0, "a process without a share must not keep the other waiting"
    with pytest.raises(FileNotFoundError):
        ceiling([*photos, "/none.jpg"], program, 2)
