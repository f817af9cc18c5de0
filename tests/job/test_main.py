"""The command itself: exit codes, one sentence for each mistake, interrupts, and both ways to start it."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pyspark
import pytest

from job import main
from job.cli import exits
from job.network import backbone
from tests.support.drivers import SECONDS, environment, run
from tests.support.spark_session import ROOT


@pytest.fixture
def photos(sample: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "photos" / "Training" / "Fruit"
    folder.mkdir(parents=True)
    for number, photo in enumerate(sorted(sample.rglob("*.jpg"))[:12]):
        (folder / f"{number}.jpg").write_bytes(photo.read_bytes())
    return tmp_path / "photos"


BOTH = "--input {photos} --output {out}"
# What each option accepts is tested with the settings.
MISTAKES = [
    ("--output {out}", 2, "--input is missing"),
    (f"{BOTH} --compnents 3", 2, "--compnents"),
    ("--input {tmp}/nowhere --output {out}", 2, "{tmp}/nowhere does not exist"),
    ("--input {photos}/Training/Fruit/0.jpg --output {out}", 2, "is a file"),
    ("--input {tmp}/empty --output {out}", 3, "no photos in {tmp}/empty"),
    ("--input {photos} --output {tmp}/file/x", 2, "cannot be written"),
    ("--input {photos} --output /proc/nowhere", 2, "/proc/nowhere cannot be written"),
    (f"{BOTH} --weights {{tmp}}/file", 2, "{tmp}/file"),
    (f"{BOTH} --weights {{tmp}}/w.h5", 2, "{tmp}/w.h5"),
    (f"{BOTH} --components 12", 2, "at most 11"),
]


@pytest.mark.parametrize(("options", "code", "says"), MISTAKES)
def test_a_mistake_gets_one_sentence_and_the_right_exit_code(
    cache: Path, photos: Path, tmp_path: Path, options: str, code: int, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("no photo")
    (tmp_path / "file").write_text("in the way")
    backbone.load("litert", None, cache)  # so that no mistake waits for a download
    places = {"tmp": tmp_path, "photos": photos, "out": tmp_path / "out"}
    done = run(cache, *options.format(**places).split())
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == code, done.stderr
    assert len(errors) == 1
    assert errors[0] == done.stderr.splitlines()[-1]
    assert says.format(**places) in errors[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "runs").exists()


def test_a_mistake_is_one_json_object_if_that_is_the_format(cache: Path, tmp_path: Path) -> None:
    done = run(cache, "--input", tmp_path / "nowhere", "--output", tmp_path / "out", "--log-format", "json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 2
    assert (lines[-1]["level"], lines[-1]["event"], lines[-1]["exit_code"]) == ("error", "run_failed", 2)
    assert {line["run_id"] for line in lines} == {lines[0]["run_id"]}


@pytest.mark.spark
def test_the_module_runs_and_says_where_everything_lies(cache: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = {"FRUITS_STANDARDIZE": "1", "AWS_SECRET_ACCESS_KEY": "not-to-be-seen"}
    done = run(cache, "--input", photos, "--output", out, "--components", "3", **more)
    assert done.returncode == 0, done.stderr
    said = dict(line.split(maxsplit=1) for line in done.stdout.replace("photos ", "photos-").splitlines())
    assert said["photos-listed"].startswith("12 ")
    assert said["featurized"] == "12"
    assert said["rejected"] == "0"
    assert said["components"].startswith("3 ")
    assert said["output"] == str(out)
    assert (out / said["record"]).exists()
    assert (out / said["model"] / "pca.npz").exists()
    record = (out / said["record"]).read_text()
    assert json.loads(record)["settings"]["standardize"] is True
    assert "not-to-be-seen" not in record + done.stdout + done.stderr
    words = ("WARN", "Stage", "SLF4J")
    # Java itself announces the vector module that Spark 4 asks for, and has no switch against it.
    told = [line for line in done.stderr.splitlines() if "incubator modules" not in line]
    noise = [line for line in told if any(word in line for word in words)]
    assert not noise


@pytest.mark.spark
def test_spark_submit_runs_the_same_file(cache: Path, photos: Path, tmp_path: Path) -> None:
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    options = ["--input", str(photos), "--output", str(tmp_path / "out"), "--components", "3"]
    options += ["--log-format", "json"]
    done = subprocess.run(
        [submit, "--master", "local[2]", ROOT / "job" / "main.py", *options],
        capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS, check=False,
        env=environment(cache) | {"PYSPARK_PYTHON": sys.executable, "SPARK_HOME": str(submit.parent.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events][-1] == "summary"
    assert events[-1]["counts"]["featurized"] == 12
    assert all(list(event)[:4] == ["ts", "level", "event", "run_id"] for event in events)


def started_by(mark: str) -> list[int]:
    """Return the processes that are still there of those that carry a mark in their environment."""
    alive = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                marks = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"FRUITS_TEST_GROUP={mark}".encode() in marks:
                alive.append(int(entry.name))
    return alive


@contextmanager
def started(cache: Path, mark: Path, *words: object) -> Iterator[subprocess.Popen[str]]:
    """Start a Python program in a process group of its own, of which nothing may be left in the end."""
    process = subprocess.Popen(
        [sys.executable, *map(str, words), "--log-format", "json", "--limit", "300"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
        env=environment(cache) | {"FRUITS_TEST_GROUP": str(mark.stat().st_ino)},
    )  # fmt: skip
    late = threading.Timer(SECONDS / 2, os.killpg, (process.pid, signal.SIGKILL))
    late.start()
    try:
        yield process
        assert late.is_alive(), "something is left"
    finally:
        late.cancel()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def assert_interrupted(process: subprocess.Popen[str], output: Path) -> None:
    assert process.stdout
    last = [json.loads(line)["event"] for line in process.stdout][-1]
    stderr = process.communicate()[1]
    assert process.returncode == 130, stderr
    assert last == "run_interrupted"
    assert "Traceback" not in stderr
    assert not (output / "runs").exists()
    assert started_by(str(output.parent.stat().st_ino)) == []


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="finds stray processes in /proc, as Linux has it"
)


@pytest.mark.spark
@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["spark_ready", "photos_featurized"])
def test_an_interrupted_run_is_not_committed_and_leaves_no_process(
    cache: Path, sample: Path, tmp_path: Path, number: int, moment: str
) -> None:
    options = ["-m", "job", "--input", sample, "--output", tmp_path / "out"]
    with started(cache, tmp_path, *options) as process:
        assert process.stdout
        while json.loads(process.stdout.readline())["event"] != moment:
            pass
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # a terminal's Ctrl-C reaches everything in the foreground
        else:
            process.terminate()
        assert_interrupted(process, tmp_path / "out")


WHILE_JAVA_STARTS = """
import os, sys, time, types
import pyspark.java_gateway as gateway
from job.main import main
sleep = lambda seconds: (os.kill(os.getpid(), int(sys.argv[1])), time.sleep(seconds))
gateway.time = types.SimpleNamespace(sleep=sleep)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.spark
@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_java_starts_leaves_no_java(
    cache: Path, sample: Path, tmp_path: Path, number: int
) -> None:
    options = ["-c", WHILE_JAVA_STARTS, int(number), "--input", sample, "--output", tmp_path / "out"]
    with started(cache, tmp_path, *options) as process:
        assert_interrupted(process, tmp_path / "out")


def test_an_unexpected_error_keeps_its_traceback_and_ends_with_1(
    cache: Path, photos: Path, tmp_path: Path
) -> None:
    breaking = (
        "import sys, job.inventory.listing as i, job.main as m\n"
        "i.take_inventory = None; sys.exit(m.main(sys.argv[1:]))"
    )
    options = ["--input", str(photos), "--output", str(tmp_path / "out")]
    for extra, where in (([], "stderr"), (["--log-format", "json"], "stdout")):
        done = subprocess.run(
            [sys.executable, "-c", breaking, *options, *extra],
            capture_output=True, text=True, cwd=ROOT, env=environment(cache), timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "Traceback" in getattr(done, where)
        assert "'NoneType' object is not callable" in getattr(done, where).splitlines()[-1]


def test_an_interrupt_that_python_drops_ends_the_run_at_its_next_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: Path, cache: Path
) -> None:
    went_on: list[object] = []
    monkeypatch.setattr(exits, "signal_received", threading.Event())

    def load(*_: object) -> SimpleNamespace:
        exits.signal_received.set()
        return SimpleNamespace(name="network", source="here")

    monkeypatch.setattr(backbone, "load", load)
    monkeypatch.setattr(main, "_start_spark", went_on.append)
    monkeypatch.setattr(exits, "_set_handler", lambda _: None)
    arguments = ["--input", str(photos), "--output", str(tmp_path / "out"), "--cache", str(cache)]
    assert main.main(arguments) == exits.INTERRUPTED
    assert not went_on
    assert not (tmp_path / "out" / "runs").exists()
