"""Shells that change how Spark starts: the job works in them, or names the variable in one sentence."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from job.errors import JobError
from job.spark import jvm
from tests.support.spark_session import ROOT

START = """
import os, sys
from pathlib import Path
from job.errors import JobError
from job.spark import session
try:
    spark = session.start(os.environ, Path(sys.argv[1]))
    context = spark.sparkContext
    print("cores", context.defaultParallelism, context.range(2).map(str).collect())
    print("region", context.getConf().get("spark.hadoop.fs.s3a.endpoint.region"))
    session.stop(spark)
except JobError as error:
    print("error:", error, *Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
"""


def start(tmp_path: Path, **variables: str) -> tuple[str, str]:
    """Start a session in a shell with more variables, and return what it printed to stdout and stderr."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK"))}
    process = subprocess.run(
        [sys.executable, "-c", START, str(tmp_path / "cache")],
        capture_output=True, text=True, check=False, cwd=ROOT, env=kept | variables, timeout=120,
    )  # fmt: skip
    return process.stdout, process.stderr


@pytest.mark.spark
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MASTER", "yarn", "YARN_CONF_DIR must be set in the environment.): look at MASTER,"),
        ("PYSPARK_SUBMIT_ARGS", "--no-such-option", "look at PYSPARK_SUBMIT_ARGS"),
        ("SPARK_HOME", "/nowhere", "SPARK_HOME is /nowhere, where there is no Spark: unset it"),
        ("PYSPARK_PYTHON", "python9", "PYSPARK_PYTHON is python9, which cannot run the workers (No such"),
        ("JAVA_HOME", "/nowhere", "it needs Java 17; set JAVA_HOME, or use scripts/run-local.sh"),
        ("MASTER", "", "local): look at MASTER, or use"),
        ("SPARK_LOCAL_DIRS", "/proc/nope", "look at SPARK_LOCAL_DIRS, or use"),
        ("SPARK_REMOTE", "sc://nowhere", "SPARK_REMOTE is set, and the job does not run on Spark Connect"),
        ("PYSPARK_SUBMIT_ARGS", "--conf 'x", "PYSPARK_SUBMIT_ARGS cannot be read (No closing quotation)"),
        ("PYSPARK_GATEWAY_PORT", "1", "PYSPARK_GATEWAY_PORT is set without PYSPARK_GATEWAY_SECRET: unset"),
        ("JAVA_TOOL_OPTIONS", "-Xms9000g", "(Initial heap size set to a larger value"),
        ("_JAVA_OPTIONS", "-XX:+Bogus", "(Unrecognized VM option 'Bogus'): look at _JAVA_OPTIONS"),
        ("JDK_JAVA_OPTIONS", "-Bogus", "(Unrecognized option: -Bogus): look at JDK_JAVA_OPTIONS"),
    ],
)
def test_a_shell_that_spark_cannot_start_in_is_named_in_one_sentence(
    tmp_path: Path, name: str, value: str, words: str
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    out, err = start(tmp_path, **{name: value})
    assert not list(cache.iterdir()), "a class archive that nothing uses"
    assert out.startswith("error: ")
    assert words in out
    assert out.count("\n") == 1
    assert not err


@pytest.mark.spark
def test_a_spark_conf_dir_with_another_master_is_named(tmp_path: Path) -> None:
    (tmp_path / "spark-defaults.conf").write_text("spark.master yarn\n")
    out, _ = start(tmp_path, SPARK_CONF_DIR=str(tmp_path))
    assert "look at SPARK_CONF_DIR" in out


@pytest.mark.spark
def test_arguments_without_a_program_and_empty_variables_are_no_obstacle(tmp_path: Path) -> None:
    arguments, region = "--master local[1]", "eu-west-1"
    out, _ = start(
        tmp_path, PYSPARK_SUBMIT_ARGS=arguments, SPARK_HOME="", PYSPARK_PYTHON="", AWS_REGION=region
    )
    assert out == "cores 1 ['0', '1']\nregion eu-west-1\n"


@pytest.mark.spark
def test_a_session_that_spark_refuses_is_one_sentence_and_leaves_no_class_archive(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    for arguments, words in (
        ("--driver-memory 300m", "System memory"),
        ("--master mesos", "External scheduler cannot"),
    ):
        out, _ = start(tmp_path, PYSPARK_SUBMIT_ARGS=f"{arguments} pyspark-shell")
        assert words in out
        assert "): look at PYSPARK_SUBMIT_ARGS" in out
        assert out.endswith("run-local.sh\n"), "Java has ended"
        assert not list(cache.iterdir())


def test_a_python_of_executors_is_not_tried_and_one_that_does_not_answer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = {"PYSPARK_SUBMIT_ARGS": "--master yarn pyspark-shell"}
    jvm.check_worker_python(cluster | {"PYSPARK_PYTHON": "./environment/bin/python"})
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nexec sleep 10\n")
    silent.chmod(0o755)
    monkeypatch.setattr(jvm, "WORKER_SECONDS", 0.2)
    with pytest.raises(JobError, match="it does not answer"):
        jvm.check_worker_python({"PYSPARK_PYTHON": str(silent)})


def test_arguments_at_which_spark_ends_without_a_program_are_refused() -> None:
    for word in ("--version", "--help", "-h"):
        with pytest.raises(JobError, match=f"^PYSPARK_SUBMIT_ARGS holds {word}, at which Spark only prints"):
            jvm.check_shell({"PYSPARK_SUBMIT_ARGS": f"{word} pyspark-shell"})
    jvm.check_shell({"PYSPARK_SUBMIT_ARGS": "--name 'a --version' pyspark-shell"})


def test_class_archives_that_ended_processes_did_not_finish_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jvm, "_drafts", [])
    files = [tmp_path / f"spark-3.5.6-0a1b{end}" for end in (".jsa", f".{os.getppid()}", f".{2**31 - 1}")]
    for file in files:
        file.touch()
    jvm.class_archive({}, tmp_path)
    assert set(tmp_path.iterdir()) == set(files[:2])


def test_a_python_of_another_version_or_without_the_packages_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "python"
    for script, words in (
        ("echo 3.9", "it is Python 3.9, and the job runs on 3.11"),
        ("echo 3.11; echo \"ModuleNotFoundError: No module named 'numpy'\" >&2", "No module named 'numpy'"),
    ):
        other.write_text(f"#!/bin/sh\n{script}\n")
        other.chmod(0o755)
        with pytest.raises(JobError, match=words):
            jvm.check_worker_python({"PYSPARK_PYTHON": str(other)})
    jvm.check_worker_python({"PYSPARK_PYTHON": sys.executable})
    jvm.check_worker_python({})


def test_the_variables_of_spark_submit_are_not_blamed() -> None:
    shell = {"SPARK_HOME": "/opt/spark", "SPARK_CONF_DIR": "", "PYSPARK_GATEWAY_PORT": "1"}
    assert str(jvm.start_error("no", shell)) == "Spark did not start (no)"
    del shell["PYSPARK_GATEWAY_PORT"]
    assert "look at SPARK_CONF_DIR, SPARK_HOME, or" in str(jvm.start_error("no", shell))


@pytest.mark.spark
def test_a_gateway_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    out, _ = start(tmp_path, PYSPARK_GATEWAY_PORT="1", PYSPARK_GATEWAY_SECRET="x")
    assert "error: Spark did not start (Java does not answer, [Errno 111]" in out


def test_the_users_launch_options_come_after_the_jobs() -> None:
    words = jvm.launch_arguments({"PYSPARK_SUBMIT_ARGS": "--driver-memory 8g pyspark-shell"}, "-Xmore")
    assert words.endswith("--driver-memory 8g pyspark-shell")
    assert "spark.driver.memory=2g" in words
    assert "-Xmore" in words
    assert jvm.launch_arguments({"PYSPARK_SUBMIT_ARGS": "--master yarn"}) == "--master yarn pyspark-shell"


ERRORS = """
import os, signal
from job.spark import jvm
signal.alarm(10)
read_end, write_end = os.pipe()
errors = jvm._ErrorOutput(read_end)
errors.pass_on()
with open(write_end, "wb") as jvm_errors:
    jvm_errors.write(b"x" * 300_000)
errors._thread.join()
"""


@pytest.mark.parametrize("reader", ["sleeps", "is gone"])
def test_the_jvms_errors_are_read_to_their_end_whatever_becomes_of_stderr(reader: str) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    process = subprocess.Popen([sys.executable, "-c", ERRORS], stderr=write_end, cwd=ROOT)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as errors:
        if reader == "sleeps":
            time.sleep(1)
            assert len(errors.read()) == 300_000
    assert process.wait(20) == 0


def test_a_closed_stderr_is_no_obstacle() -> None:
    command = ["bash", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, ERRORS]
    assert subprocess.run(command, cwd=ROOT, timeout=20, check=False).returncode == 0
