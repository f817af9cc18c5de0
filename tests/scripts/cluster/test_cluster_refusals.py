"""cluster.sh refuses wrong arguments and tools in one sentence; and the shell command itself runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import ROOT
from tests.support.aws_emulator import Answer, Cloud
from tests.support.recorders import fake_kubectl
from tests.support.recorders.arguments import Memory
from tests.support.recorders.desk import HERE, Desk

TOOLS: Final = {"aws", "eksctl", "kubectl"}
KUBECTL_COMMANDS: Final = (
    *("annotate", "apply", "create", "delete", "describe", "diff", "get", "logs", "version", "wait"),
)


@pytest.mark.parametrize("missing", sorted(TOOLS))
def test_a_missing_tool_is_named_with_where_to_get_it(
    missing: str, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS - {missing}:
        (tools / name).symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tools))
    for command in ("up", "down"):
        outcome = desk(command, "--yes")
        assert outcome.code == 2 and outcome.err.startswith(
            f"error: {missing} not found, install it ({missing}: https"
        )
    assert desk("up", "--dry-run").code == 0, "looking needs none"


@pytest.mark.parametrize(
    ("tool", "version", "message"),
    [
        ("eksctl", "0.221.0", "eksctl 0.221.0 is too old, 0.222.0 or newer is needed"),
        ("kubectl", "v1.29.3", "kubectl 1.29.3 is too old, 1.34.0 or newer is needed"),
        ("kubectl", "what", "kubectl version --client -o json does not say its version"),
    ],
)
def test_a_tool_that_is_too_old_is_refused(tool: str, version: str, message: str, desk: Desk) -> None:
    desk.memory.put(f"{tool}-version", version)
    outcome = desk("up", "--yes")
    assert outcome.code == 2 and outcome.err.startswith(f"error: {message}")


def test_a_kubectl_that_is_too_new_for_the_cluster_is_told_and_used(desk: Desk) -> None:
    desk.memory.put("kubectl-version", "v1.36.4")
    assert "warning" not in desk("up", "--yes").err
    desk.memory.put("kubectl-version", "v1.37.1")
    outcome = desk("up", "--yes")
    assert outcome.code == 0
    assert outcome.err.startswith(
        "warning: kubectl 1.37.1 is newer than Kubernetes supports with this cluster, 1.36"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["up", "--region", "us-east-1"], 4, "region us-east-1 is not one of the EU's"),
        (["down", "--region", "eu-west-2"], 4, "region eu-west-2 is not one of the EU's"),
        (["up", "--region", "eu-central-1"], 2, "k8s/ is written for eu-west-1, not for eu-central-1"),
        (["up", "--stage", "test"], 2, "argument --stage: invalid choice: 'test'"),
        (["up", "--delete-data"], 2, "unrecognized arguments: --delete-data"),
        (["up", "--parameter", "Nothing=1"], 2, "--parameter Nothing=1: give Name=Value"),
        (["up", "--public-access", "here"], 2, "--public-access here: 'here' does not appear to be an IPv4"),
        (["status", "--profile", "nobody"], 6, "there is no AWS profile nobody: look at ~/.aws/config"),
        ([], 2, "the following arguments are required: up|check|status|down"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: list[str], code: int, message: str, desk: Desk) -> None:
    outcome = desk(*arguments)
    assert (
        outcome.code == code and outcome.err.startswith(f"error: {message}") and outcome.err.count("\n") == 1
    )
    assert desk.cloud.requests == []


@pytest.mark.parametrize("arguments", [["status"], ["--help"]])
def test_a_stage_of_the_environment_that_does_not_exist_is_refused(
    arguments: list[str], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUITS_STAGE", "test")
    outcome = desk(*arguments)
    assert (outcome.code, outcome.err) == (2, "error: FRUITS_STAGE is 'test', not one of dev, prod\n")


def test_the_stage_of_the_environment_is_the_default(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_STAGE", "prod")
    assert desk("status").out.startswith("stage prod, ")
    assert desk("status", "--stage", "dev").out.startswith("stage dev, ")


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_no_credentials_and_old_ones_are_one_sentence(
    command: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"<ErrorResponse><Error><Code>ExpiredToken</Code><Message>m</Message></Error></ErrorResponse>"
    expired = Answer(403, body, (("Content-Type", "text/xml"),))
    desk.cloud.fail_once(lambda request: request.action == "GetCallerIdentity", expired)
    outcome = desk(command)
    assert outcome.code == 6
    assert (
        outcome.err == "error: AWS says that the credentials have expired (GetCallerIdentity): log in again\n"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    outcome = desk(command)
    assert outcome.code == 6
    message = "no AWS credentials (NoCredentialsError): log in, or name a profile with --profile"
    assert outcome.err == f"error: {message}\n"


@pytest.mark.parametrize("command", ["up", "down"])
def test_without_a_terminal_nobody_is_asked_and_nothing_is_done(command: str, desk: Desk) -> None:
    if command == "down":
        desk.build()
    outcome = desk(command)
    assert outcome.code == 2 and outcome.commands == []
    message = "there is no terminal to ask at: say --yes to go ahead, or --dry-run to look"
    assert outcome.err == f"error: {message}\n"


def test_what_is_told_to_kubectl_is_what_the_real_one_takes(desk: Desk) -> None:
    desk("up", "--yes")
    desk.memory.put("phases", ["Failed"])
    desk("check")
    desk("status")
    desk("down", "--yes")
    flags = {
        (words[words.index(command)], flag.partition("=")[0])
        for tool, *words in Memory.here().calls()
        if tool == "kubectl"
        for command in KUBECTL_COMMANDS
        if command in words
        for flag in words
        if flag.startswith("--")
    }
    assert len(flags) > 10
    options = subprocess.run(
        [fake_kubectl.REAL, "options"], capture_output=True, text=True, check=True
    ).stdout
    for command, flag in flags:
        helped = subprocess.run(
            [fake_kubectl.REAL, command, "--help"], capture_output=True, text=True, check=True
        )
        assert f"{flag}=" in helped.stdout or f"{flag}=" in options, (command, flag)


def test_cluster_sh_itself_makes_a_stage_of_the_real_files_and_removes_it(
    cloud: Cloud, desk: Desk, tmp_path: Path
) -> None:
    home = tmp_path / "fruits"
    for folder in ("job", "scripts", "k8s"):
        shutil.copytree(ROOT / folder, home / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (home / "docker").mkdir()
    shutil.copy(ROOT / "docker" / "release.env", home / "docker")
    shutil.copy(ROOT / "requirements-local.lock", home)
    (home / ".venv").symlink_to(ROOT / ".venv")

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(home / "scripts" / "cluster.sh"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)

    assert str(HERE) in os.environ["PATH"] and desk.cloud is cloud
    outcome = call("up", "--yes")
    assert (outcome.returncode, outcome.stderr) == (0, "") and "stage dev is complete\n" in outcome.stdout
    assert "  Successfully created/updated stack - fruits-dev\n" in outcome.stdout
    second = call("up")
    assert second.returncode == 0 and "stage dev is complete: nothing was changed" in second.stdout
    removal = call("down", "--yes")
    assert (removal.returncode, removal.stderr) == (0, "")
    assert removal.stdout.splitlines()[-2] == "stage dev is down"
