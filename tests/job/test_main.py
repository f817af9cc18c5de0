"""The command line: exit codes, one sentence for each mistake, interrupts, and both ways to start it."""

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


REQUIRED = "--input {photos} --output {out}"
# The values of each option are tested in cli/test_settings.py.
MISTAKES = [
    ("--output {out}", 2, "--input is missing"),
    (f"{REQUIRED} --compnents 3", 2, "--compnents"),
    ("--input {tmp}/nowhere --output {out}", 2, "{tmp}/nowhere does not exist"),
    ("--input {photos}/Training/Fruit/0.jpg --output {out}", 2, "is a file"),
    ("--input {tmp}/empty --output {out}", 3, "no photos in {tmp}/empty"),
    ("--input {photos} --output {tmp}/file/x", 2, "cannot be written"),
    ("--input {photos} --output /proc/nowhere", 2, "/proc/nowhere cannot be written"),
    (f"{REQUIRED} --weights {{tmp}}/file", 2, "{tmp}/file"),
    (f"{REQUIRED} --weights {{tmp}}/w.h5", 2, "{tmp}/w.h5"),
    (f"{REQUIRED} --components 12", 2, "at most 11"),
]


@pytest.mark.parametrize(("options", "code", "sentence"), MISTAKES)
def test_a_mistake_gets_one_sentence_and_the_right_exit_code(
    cache: Path, photos: Path, tmp_path: Path, options: str, code: int, sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("no photo")
    (tmp_path / "file").write_text("in the way")
    backbone.load("litert", None, cache)  # so that no run waits for a download
    locations = {"tmp": tmp_path, "photos": photos, "out": tmp_path / "out"}
    result = run(cache, *options.format(**locations).split())
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == code, result.stderr
    assert len(errors) == 1
    assert errors[0] == result.stderr.splitlines()[-1]
    assert sentence.format(**locations) in errors[0]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out" / "runs").exists()


def test_a_mistake_is_one_json_object_with_the_json_format(cache: Path, tmp_path: Path) -> None:
    result = run(cache, "--input", tmp_path / "nowhere", "--output", tmp_path / "out", "--log-format", "json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 2
    assert (lines[-1]["level"], lines[-1]["event"], lines[-1]["exit_code"]) == ("error", "run_failed", 2)
    assert {line["run_id"] for line in lines} == {lines[0]["run_id"]}


@pytest.mark.spark
def test_the_module_runs_and_prints_the_locations_of_its_results(
    cache: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    variables = {"FRUITS_STANDARDIZE": "1", "AWS_SECRET_ACCESS_KEY": "not-to-be-seen"}
    result = run(cache, "--input", photos, "--output", out, "--components", "3", **variables)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.replace("photos ", "photos-").splitlines()
    summary = dict(line.split(maxsplit=1) for line in lines)
    assert summary["photos-listed"].startswith("12 ")
    assert summary["featurized"] == "12"
    assert summary["rejected"] == "0"
    assert summary["components"].startswith("3 ")
    assert summary["output"] == str(out)
    assert (out / summary["record"]).exists()
    assert (out / summary["model"] / "pca.npz").exists()
    record = (out / summary["record"]).read_text()
    assert json.loads(record)["settings"]["standardize"] is True
    assert "not-to-be-seen" not in record + result.stdout + result.stderr
    noise_words = ("WARN", "Stage", "SLF4J")
    # Java announces the vector module that Spark 4 requires, and no option prevents that.
    lines = [line for line in result.stderr.splitlines() if "incubator modules" not in line]
    noise = [line for line in lines if any(word in line for word in noise_words)]
    assert not noise


@pytest.mark.spark
def test_spark_submit_runs_the_same_file(cache: Path, photos: Path, tmp_path: Path) -> None:
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    options = ["--input", str(photos), "--output", str(tmp_path / "out"), "--components", "3"]
    options += ["--log-format", "json"]
    result = subprocess.run(
        [submit, "--master", "local[2]", ROOT / "job" / "main.py", *options],
        capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS, check=False,
        env=environment(cache) | {"PYSPARK_PYTHON": sys.executable, "SPARK_HOME": str(submit.parent.parent)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events][-1] == "summary"
    assert events[-1]["counts"]["featurized"] == 12
    assert all(list(event)[:4] == ["ts", "level", "event", "run_id"] for event in events)


def started_by(mark: str) -> list[int]:
    """Return the living processes that carry a mark in their environment."""
    alive = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"FRUITS_TEST_GROUP={mark}".encode() in variables:
                alive.append(int(entry.name))
    return alive


@contextmanager
def started(cache: Path, mark: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Start a Python program in its own process group, which must be empty in the end."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments), "--log-format", "json", "--limit", "300"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
        env=environment(cache) | {"FRUITS_TEST_GROUP": str(mark.stat().st_ino)},
    )  # fmt: skip
    killer = threading.Timer(SECONDS / 2, os.killpg, (process.pid, signal.SIGKILL))
    killer.start()
    try:
        yield process
        assert killer.is_alive(), "a process keeps running"
    finally:
        killer.cancel()
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
    not Path("/proc/self/environ").exists(), reason="finds stray processes in Linux's /proc"
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
            os.killpg(process.pid, number)  # as a terminal's Ctrl-C signals the whole group
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
    program = (
        "import sys, job.inventory.listing as i, job.main as m\n"
        "i.take_inventory = None; sys.exit(m.main(sys.argv[1:]))"
    )
    options = ["--input", str(photos), "--output", str(tmp_path / "out")]
    for extra, stream in (([], "stderr"), (["--log-format", "json"], "stdout")):
        result = subprocess.run(
            [sys.executable, "-c", program, *options, *extra],
            capture_output=True, text=True, cwd=ROOT, env=environment(cache), timeout=SECONDS, check=False,
        )  # fmt: skip
        assert result.returncode == 1
        assert "Traceback" in getattr(result, stream)
        assert "'NoneType' object is not callable" in getattr(result, stream).splitlines()[-1]


def test_an_interrupt_that_python_loses_ends_the_run_at_its_next_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: Path, cache: Path
) -> None:
    spark_starts: list[object] = []
    monkeypatch.setattr(exits, "signal_received", threading.Event())

    def load(*_: object) -> SimpleNamespace:
        exits.signal_received.set()
        return SimpleNamespace(name="network", source="here")

    monkeypatch.setattr(backbone, "load", load)
    monkeypatch.setattr(main, "_start_spark", spark_starts.append)
    monkeypatch.setattr(exits, "_set_handler", lambda _: None)
    arguments = ["--input", str(photos), "--output", str(tmp_path / "out"), "--cache", str(cache)]
    assert main.main(arguments) == exits.INTERRUPTED
    assert not spark_starts
    assert not (tmp_path / "out" / "runs").exists()
