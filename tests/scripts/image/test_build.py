"""build-image.sh: its options, the image that it builds, and the cost of a changed line."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from job.network.weights import FINGERPRINT
from scripts.cloud.stage import ARCHITECTURE
from tests.support.engine import docker
from tests.support.image import ROOT, build

DOCKERFILE: Final = (ROOT / "docker" / "Dockerfile").read_text()
MEGABYTE: Final = 1_000_000


def bash(*options: str, root: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [str(root / "scripts" / "build-image.sh"), *options]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def inspect(image: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(docker("image", "inspect", image))[0]
    return facts


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    result = subprocess.run(
        ["git", "-C", str(root), *identity, *words], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a clean checkout of the files as they are now, with a revision of its own."""
    root = tmp_path / "checkout"
    names = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in names:
        if (ROOT / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "all")
    return root


@pytest.mark.docker
def test_a_change_of_one_line_makes_one_small_layer_anew(image: str, checkout: Path, base: str) -> None:
    revision = git(checkout, "rev-parse", "HEAD")
    output = build(checkout, "fruits-line", base)
    assert f"image   fruits-line:{revision[:12]}\n" in output
    before = inspect("fruits-line:latest")
    assert before["RootFS"]["Layers"] == inspect(image)["RootFS"]["Layers"], "same inputs, same layers"
    assert before["Config"]["Labels"]["org.opencontainers.image.revision"] == revision
    with (checkout / "job" / "maths" / "pca.py").open("a") as file:
        file.write("# a new line\n")
    output = build(checkout, "fruits-line", base)
    assert f"image   fruits-line:{revision[:12]}-dirty\n" in output
    after = inspect("fruits-line:latest")
    assert after["RootFS"]["Layers"][:-1] == before["RootFS"]["Layers"][:-1]
    assert after["RootFS"]["Layers"][-1] != before["RootFS"]["Layers"][-1]
    history = docker("history", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", "fruits-line:latest")
    (size,) = (int(line.split()[0]) for line in history.splitlines() if "/opt/fruits/job" in line)
    assert 0 < size < 5 * MEGABYTE


@pytest.mark.docker
def test_the_sbom_names_what_the_lock_names_and_every_licence_is_listed(image: str) -> None:
    sbom = json.loads((ROOT / "build" / "image" / "sbom.cdx.json").read_text())
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    listed = {(re.sub("[-_.]+", "-", part["name"].lower()), part["version"]) for part in sbom["components"]}
    lock = (ROOT / "requirements.lock").read_text()
    locked = re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE)
    assert listed <= {(re.sub("[-_.]+", "-", name), version) for name, version in locked}
    assert {"tensorflow-cpu", "numpy", "pyarrow", "deltalake", "duckdb"} <= {name for name, _ in listed}
    licences = (ROOT / "build" / "image" / "licences.txt").read_text().splitlines()
    assert len(licences) == len(listed) + 2 and all(line.partition(": ")[2] for line in licences)
    inside = docker("run", "--rm", "--network", "none", image, "cat", "/opt/fruits/materials/licences.txt")
    assert inside.splitlines() == licences


@pytest.mark.docker
def test_labels_say_what_it_is_made_of(image: str, base: str) -> None:
    labels = inspect(image)["Config"]["Labels"]
    prefix = "org.opencontainers.image"
    assert labels[f"{prefix}.base.name"] == base
    assert labels[f"{prefix}.base.digest"] == inspect(base)["Id"], "no registry knows the stand-in"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels[f"{prefix}.created"])
    assert labels[f"{prefix}.revision"].startswith(git(ROOT, "rev-parse", "HEAD"))


@pytest.mark.docker
def test_only_what_the_build_reads_is_sent_to_it(checkout: Path, base: str) -> None:
    for folder in (checkout / "job", checkout / "job" / "table"):
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "x.pyc").touch()
    (checkout / ".aws").mkdir()
    (checkout / ".aws" / "credentials").touch()
    lines = f"FROM {base}\nCOPY . /tmp/context\n"
    (checkout / "Dockerfile.list").write_text(lines)
    docker("build", "--file", checkout / "Dockerfile.list", "--tag", "fruits-context", checkout)
    try:
        words = ["run", "--rm", "--network", "none", "fruits-context", "find", "/tmp/context", "-type", "f"]
        sent = {name.removeprefix("/tmp/context/") for name in docker(*words).splitlines()}
    finally:
        docker("rmi", "fruits-context")
    job = set(git(checkout, "ls-files", "job").splitlines())
    others = {"requirements.lock", "requirements-sbom.lock", "docker/bake.py", "docker/licences.py"}
    assert sent == job | others


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_a_release_takes_a_clean_tree_and_a_base_with_a_digest(checkout: Path, base: str) -> None:
    result = bash("--release", "--base", base, root=checkout)
    assert result.returncode == 1 and result.stderr.startswith(f"error: the base {base} cannot be pulled")
    (checkout / "new").touch()
    result = bash("--release", "--base", base, root=checkout)
    assert result.returncode == 1 and "files differ from revision" in result.stderr


# Records its arguments, and whether attestations are off; the base has a digest.
DOCKER_SCRIPT: Final = """\
#!/bin/sh
echo "$BUILDX_NO_DEFAULT_ATTESTATIONS $*" >> '{folder}/commands'
case "$*" in
  *RepoDigests*) echo base@sha256:0 ;;
  *.Size*) echo 1000000 ;;
esac
"""


@pytest.mark.parametrize(
    ("options", "platform"),
    [
        (["--release"], "--platform linux/amd64 "),
        (["--release", "--platform", "linux/amd64"], "--platform linux/amd64 "),
        (["--platform", "linux/arm64"], "--platform linux/arm64 "),
        ([], ""),
    ],
)
def test_a_release_is_for_the_clusters_nodes_and_no_image_has_attestations(
    options: list[str], platform: str, checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "docker").write_text(DOCKER_SCRIPT.format(folder=tmp_path))
    (tmp_path / "docker").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    result = bash("--base", "base:1", "--no-check", *options, root=checkout, PATH=path)
    assert result.returncode == 0, result.stderr
    commands = (tmp_path / "commands").read_text().splitlines()
    assert f" pull --quiet {platform}base:1" in commands
    (build,) = (command for command in commands if command.startswith("1 build "))
    tag = git(checkout, "rev-parse", "HEAD")[:12]
    assert f" --tag fruits:latest {platform}--build-arg BASE_IMAGE=base@sha256:0 " in build
    assert f" create {platform}fruits:{tag}" in commands


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_a_base_that_cannot_be_pulled_is_one_sentence(checkout: Path) -> None:
    result = bash("--base", "127.0.0.1:9/none:latest", root=checkout)
    assert result.returncode == 1
    assert (
        len(result.stderr.splitlines()) == 1 and "127.0.0.1:9/none:latest cannot be pulled" in result.stderr
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--nonsense"], "unknown option '--nonsense'"),
        (["--platform", "linux/sparc"], "--platform is linux/amd64 or linux/arm64"),
        (["--base"], "--base needs a value"),
        (["--release", "--platform", "linux/arm64"], "leave out --platform linux/arm64"),
    ],
)
def test_a_wrong_option_is_one_sentence(options: list[str], sentence: str) -> None:
    result = bash(*options)
    assert result.returncode == 2
    assert sentence in result.stderr and len(result.stderr.splitlines()) == 1


def test_without_an_engine_it_says_so(tmp_path: Path) -> None:
    result = bash(DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert result.returncode == 1 and result.stderr.startswith("error: no Docker engine answers")


def test_help_names_the_base() -> None:
    result = bash("--help")
    assert result.returncode == 0 and "public.ecr.aws/emr-on-eks/spark/emr-7.13.0:latest" in result.stdout


def test_one_fact_is_the_same_wherever_it_stands() -> None:
    release = dict(re.findall(r"^(\w+)=(\S+)$", (ROOT / "docker" / "release.env").read_text(), re.MULTILINE))
    assert re.findall(r"^ARG EMR_RELEASE=(\S+)", DOCKERFILE, re.MULTILINE) == [release["EMR_RELEASE"]]
    lock = (ROOT / "requirements-local.lock").read_text()
    assert re.findall(r"^pyspark==(\S+)", lock, re.MULTILINE) == [release["SPARK_VERSION"]]
    assert f'"{FINGERPRINT}"' in (ROOT / "docker" / "check.py").read_text()
    pools = [yaml.safe_load(file.read_text()) for file in (ROOT / "k8s" / "base").glob("pool-*.yaml")]
    requirements = [item for pool in pools for item in pool["spec"]["template"]["spec"]["requirements"]]
    architectures = [item["values"] for item in requirements if item["key"] == "kubernetes.io/arch"]
    assert architectures == [[ARCHITECTURE]] * len(pools)
    assert f"platform=linux/{ARCHITECTURE}\n" in (ROOT / "scripts" / "build-image.sh").read_text()
