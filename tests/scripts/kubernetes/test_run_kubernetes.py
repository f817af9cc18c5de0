"""The command line of run-kubernetes.sh: its help, its refusals, and a run on a cluster of the user's."""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.kubernetes import __main__ as command
from scripts.kubernetes import needs, results
from scripts.kubernetes.object_store import ObjectStore
from tests.support.image import ROOT
from tests.support.kubectl import PROGRAM, calls, recorded, recorded_kubectl
from tests.support.schemas import KUBECTL

S3 = ("--input", "s3://photos/2026", "--output", "s3://results/2026")
OTHER = ("--context", "kind", "--image", "registry.example/fruits:1", "--run-id", "completed")


def run(*arguments: str, wait: Callable[[float], None] = lambda _: None) -> int:
    return command.main([*arguments], wait=wait)


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line of an error."""
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1, shown.err
    return shown.err.removeprefix("error: ").rstrip("\n")


def test_help_names_every_option_and_what_a_local_cluster_needs() -> None:
    result = subprocess.run(
        [ROOT / "scripts" / "run-kubernetes.sh", "--help"], capture_output=True, text=True, check=True
    )
    for word in (
        "--executors N", "--keep", "--image NAME", "--context NAME", "--input FOLDER", "--output FOLDER",
        "containerd runc containernetworking-plugins iptables ipset iproute2",
    ):  # fmt: skip
        assert word in result.stdout
    assert result.stderr == ""


def test_the_jobs_options_have_their_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run("--job-help")
    assert end.value.code == 0
    assert "--max-photo-pixels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--executors", "0"], "argument --executors: '0' is not a number of executors from 1 to 24"),
        (["--executors", "25"], "argument --executors: '25' is not a number of executors from 1 to 24"),
        (["--run-id", "a b"], "argument --run-id: 'a b' is not 1 to 63 letters and digits"),
        (["--nonsense"], "unknown argument '--nonsense'"),
        (["--variance", "2"], "--variance: '2' is not a number from 0 to 1"),
        (["--log-format", "text"], "--log-format is not for the job in the cloud"),
        (
            ["--input", "s3://photos/2026"],
            "--input s3://photos/2026: a local cluster reaches no S3 but its own",
        ),
        (["--input", "nowhere"], "--input nowhere is no folder on this machine"),
        (["--profile", "x"], "--profile is for S3 with --context"),
        (["--context", "kind"], "--context needs --input and --output, as s3://bucket/prefix"),
        (
            ["--context", "kind", "--input", "photos", "--output", "s3://results/x"],
            "which pods do not see: give s3://",
        ),
        (["--context", "kind", *S3], "--context needs --image REGISTRY/NAME:TAG"),
        (["--context", "kind", *S3, "--image", "fruits:latest"], "--context needs --image REGISTRY/NAME:TAG"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str], arguments: list[str], fault: str
) -> None:
    assert run(*arguments) == 2
    assert fault in sentence(capsys)


def test_an_empty_folder_has_no_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--input", str(tmp_path)) == 3
    assert sentence(capsys) == f"--input {tmp_path} has no files"


def test_other_things_in_the_output_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letters").mkdir()
    assert run("--output", str(tmp_path)) == 2
    assert "holds other things, which results would replace" in sentence(capsys)


Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Return a way to change a machine that lacks nothing but an image."""
    programs, plugins = tmp_path / "programs", tmp_path / "plugins"
    for folder, names in ((programs, [*needs.PROGRAMS, "go"]), (plugins, needs.PLUGIN_PROGRAMS)):
        folder.mkdir()
        for name in names:
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
    (programs / "docker").write_text(
        '#!/bin/sh\n[ "$1" = version ] || { echo "No such image" >&2; exit 1; }\n'
    )
    (programs / "docker").chmod(0o755)
    (programs / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(needs, "PLUGINS", plugins)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**12))
    return monkeypatch


def refusal(capsys: pytest.CaptureFixture[str], tmp_path: Path, code: int = 2) -> str:
    assert run("--output", str(tmp_path / "out")) == code
    return sentence(capsys)


def test_without_the_image_it_says_how_to_build_it(
    machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    machine.delenv("FRUITS_IMAGE", raising=False)
    assert refusal(capsys, tmp_path) == (
        "there is no image fruits:latest here: build it with ./scripts/build-image.sh"
    )


def test_without_an_engine_it_says_what_docker_says(
    machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert machine
    (tmp_path / "programs" / "docker").unlink()
    assert refusal(capsys, tmp_path, 1) == "docker was not found: install Docker Engine or Docker Desktop"


def test_another_system_or_user_is_told_about_contexts(
    machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    machine.setattr(os, "geteuid", lambda: 1000)
    assert refusal(capsys, tmp_path) == (
        "a local cluster needs root for its networks and mounts: put sudo before the command, "
        "or give a --context"
    )
    machine.setattr(sys, "platform", "darwin")
    assert refusal(capsys, tmp_path) == (
        "a local cluster needs Linux: run it in a virtual machine, or give a --context"
    )


@pytest.mark.parametrize(("program", "package"), sorted(needs.PROGRAMS.items()))
def test_missing_programs_are_named_by_debians_packages(
    machine: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    program: str,
    package: str,
) -> None:
    assert machine
    (tmp_path / "programs" / program).unlink()
    assert f"apt-get install {package} (Debian's names)" in refusal(capsys, tmp_path)
    (tmp_path / "plugins" / "bridge").unlink()
    assert {*refusal(capsys, tmp_path).split()} >= {package, needs.PLUGIN_PACKAGE}


def test_without_go_or_disk_it_says_so(
    machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    machine.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 3 * 10**9))
    assert "needs about 12 GB in " in (text := refusal(capsys, tmp_path)) and "where 3.0 GB are free" in text
    (tmp_path / "programs" / "go").unlink()
    assert refusal(capsys, tmp_path).endswith("install Go 1.26 or newer")


def test_results_replace_earlier_ones_when_they_are_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    (output / "photos" / "_delta_log").mkdir(parents=True)
    results.check(output)
    store = ObjectStore("http://x", tmp_path / "log", "user", "password")

    def download(_: ObjectStore, bucket: str, prefix: str, folder: Path) -> int:
        assert (bucket, prefix) == ("results", "fruits")
        (folder / "report.html").write_text("new")
        return 1

    monkeypatch.setattr(ObjectStore, "download", download)
    results.fetch(store, "results", "fruits", output)
    assert [path.name for path in output.iterdir()] == ["report.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    monkeypatch.setattr(ObjectStore, "download", lambda *_: 0)
    results.fetch(store, "results", "fruits", output)
    assert (output / "report.html").read_text() == "new"


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws_environment: pytest.MonkeyPatch) -> Path:
    """Put a kubectl on the PATH that has a context ``kind`` and a completed run; return its folder."""
    recorded_kubectl(tmp_path, *recorded("completed"))
    (tmp_path / "config").write_text("kind\nproduction\n")
    overlay = ROOT / "k8s" / "overlays" / "dev"
    (tmp_path / "kustomize").write_bytes(subprocess.check_output([KUBECTL, "kustomize", overlay]))
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    empty = "echo '{\"items\": []}'"
    kubectl.write_text(
        f'#!/bin/sh\ncase "$*" in *endpointslices*) {empty};; *"get service"*) ;; '
        f'*) exec "{sys.executable}" -S "{PROGRAM}" "{tmp_path}" "$@";; esac\n'
    )
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{kubectl.parent}:{os.environ['PATH']}")
    aws_environment.setenv("AWS_ENDPOINT_URL", "http://minio.storage:9000")
    return tmp_path


def applied(folder: Path, number: int) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = json.loads((folder / f"applied-{number}.json").read_text())["items"]
    return objects


def test_a_run_on_another_cluster_leaves_no_object_of_its_own(
    other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*OTHER, *S3, "--variance", "0.9") == 0
    assert "480 listed, 0 unchanged, 480 featurized, 0 rejected" in capsys.readouterr().out
    base, objects = applied(other, 0), applied(other, 1)
    assert {"Namespace", "ResourceQuota", "NetworkPolicy"} <= {manifest["kind"] for manifest in base}
    assert "NodePool" not in {manifest["kind"] for manifest in base}
    runner = objects[-1]
    assert "nodeSelector" not in runner["spec"]
    words = runner["spec"]["containers"][0]["args"]
    assert words[words.index("--variance") + 1] == "0.9"
    assert words[words.index("--input") + 1] == "s3://photos/2026"
    secret = next(manifest for manifest in objects if manifest["kind"] == "Secret")
    assert secret["stringData"].keys() >= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    secrets = secret["stringData"].values()
    assert not any(text in call for call in calls(other) for text in secrets), "never on a command line"
    settings = next(manifest for manifest in objects if manifest["kind"] == "ConfigMap")["data"]
    assert "driverEnv.AWS_ENDPOINT_URL http://minio.storage:9000\n" in settings["spark-defaults.conf"]
    last = calls(other)[-1]
    assert last.startswith("delete pods,configmaps,secrets,") and "-l fruits/run=completed" in last


def test_what_is_kept_is_named_with_the_command_that_deletes_it(
    other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*OTHER, *S3, "--keep") == 0
    assert not any(call.startswith("delete") for call in calls(other))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("  kubectl --context kind -n fruits delete pods,configmaps,secrets,")


def test_ctrl_c_deletes_the_run(other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def press(_: float) -> None:
        raise KeyboardInterrupt

    assert run(*OTHER, *S3, "--keep", wait=press) == 130
    assert sentence(capsys) == "interrupted: the run is deleted; namespace fruits stays"
    assert calls(other)[-1].startswith("delete pods,")


def test_an_unknown_context_is_refused(other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert other
    assert run("--context", "nowhere", *OTHER[2:], *S3) == 2
    assert sentence(capsys) == "there is no context nowhere in the kubeconfig: it has kind, production"


def test_without_kubectl_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(*OTHER, *S3) == 1
    assert sentence(capsys) == "kubectl was not found: install kubectl"


def test_without_credentials_or_outside_the_eu_nothing_is_applied(
    other: Path, aws_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aws_environment.setenv("AWS_REGION", "us-east-1")
    aws_environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert run(*OTHER, *S3) == 4
    assert sentence(capsys).startswith("region us-east-1 is not one of the EU's")
    aws_environment.delenv("AWS_ACCESS_KEY_ID")
    assert run(*OTHER, *S3) == 6
    assert sentence(capsys).startswith("no AWS credentials")
    assert not list(other.glob("applied-*"))
