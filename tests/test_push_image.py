"""push-image.sh: what is pushed to ECR, what is refused, and who sees the password."""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import boto3
import pytest
from moto.core.exceptions import JsonRESTError
from moto.ecr.models import ECRBackend
from moto.ecr.responses import ECRResponse

from job.errors import UsageError
from scripts import push_image
from tests.engine import docker
from tests.registries import Registry, credentials, running_ecr, running_registry
from tests.s3_servers import REGION

ROOT: Final = Path(__file__).parents[1]
BASE: Final = f"base@sha256:{'0' * 64}"
IMMUTABLE: Final = {"imageTagMutability": "IMMUTABLE", "imageScanningConfiguration": {"scanOnPush": True}}
# Writes down what docker is told, and what lies in its folder before and after a push.
RECORDER: Final = """\
#!/bin/sh
printf '%s\\n' "$*" >> '{notes}/told'
[ "$1" = push ] || exec '{docker}' "$@"
cp -R "$DOCKER_CONFIG" '{notes}/before'
'{docker}' "$@"
code=$?
cp -R "$DOCKER_CONFIG" '{notes}/after'
exit $code
"""


class Checkout:
    """A clean checkout of its own revision, and the images of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = f"push-test-{uuid.uuid4().hex[:12]}"
        shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "job", root / "job", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "docker").mkdir()
        shutil.copy(ROOT / "docker" / "release.env", root / "docker")
        self._git("init", "--quiet")
        self.commit()

    def commit(self) -> None:
        """Make a new revision."""
        self._git("add", "--all")
        who = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
        self._git(*who, "commit", "--quiet", "--allow-empty", "--message", uuid.uuid4().hex)

    @property
    def revision(self) -> str:
        return self._git("rev-parse", "HEAD")

    @property
    def tag(self) -> str:
        return self.revision[:12]

    def build(self, revision: str | None = None, base: str = BASE) -> str:
        """Make a small image with the labels that the Dockerfile gives, and return its id."""
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as tar:
            tar.addfile(tarfile.TarInfo(uuid.uuid4().hex))
        labels = {"revision": revision or self.revision, "base.name": base}
        words = [f"--change=LABEL org.opencontainers.image.{name}={text}" for name, text in labels.items()]
        return docker("import", *words, "-", f"{self.name}:{self.tag}", data=sink.getvalue())

    def push(self, *options: str) -> "subprocess.CompletedProcess[str]":
        """Run push_image.py as push-image.sh does."""
        command = [sys.executable, "-B", str(self.root / "scripts" / "push_image.py"), "--name", self.name]
        return subprocess.run([*command, *options], capture_output=True, text=True, check=False)

    def names(self) -> list[str]:
        """Return the names, by tag or digest, that the engine has for the image of this revision."""
        found = json.loads(docker("image", "inspect", f"{self.name}:{self.tag}"))[0]
        return [*found["RepoTags"], *found["RepoDigests"]]

    def remove_images(self) -> None:
        """Leave no image of this checkout in the engine."""
        tags = docker("images", "--format", "{{.Repository}}:{{.Tag}}", self.name).split()
        for tag in tags:
            docker("rmi", tag)

    def _git(self, *words: str) -> str:
        done = subprocess.run(["git", "-C", self.root, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, aws_environment: pytest.MonkeyPatch) -> Checkout:
    """Make a checkout; AWS has dummy credentials and cannot be reached."""
    aws_environment.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    aws_environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    return Checkout(tmp_path / "checkout")


@pytest.fixture
def release(engine: str, checkout: Checkout) -> Iterator[Checkout]:
    """Make a checkout and the image of its revision."""
    assert engine
    checkout.build()
    yield checkout
    checkout.remove_images()


@pytest.fixture
def ecr(release: Checkout, tmp_path: Path, aws_environment: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Run ECR; it has no repository yet."""
    assert release
    with running_registry(tmp_path / "registry") as registry, running_ecr(registry, aws_environment):
        yield registry


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a docker first on the PATH that notes what it is told, and return the folder of its notes."""
    folder, program = tmp_path / "notes", tmp_path / "bin" / "docker"
    folder.mkdir()
    program.parent.mkdir()
    program.write_text(RECORDER.format(notes=folder, docker=shutil.which("docker")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return folder


def refused(done: "subprocess.CompletedProcess[str]", code: int, said: str) -> None:
    """Check that a run ended with one sentence and nothing else."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: "), done.stderr
    assert said in done.stderr


@pytest.mark.docker
def test_x(release: Checkout, ecr: Registry, notes: Path) -> None:
    done = release.push()
    print(done.stdout, done.stderr, (notes / "told").read_text())
    print(boto3.client("ecr").describe_repositories())
    print(boto3.client("ecr").describe_images(repositoryName="fruits"))
    print(ecr.manifest("fruits", release.tag))
    print(release.names())
    done = release.push()
    print(done.stdout, done.stderr, (notes / "told").read_text())
    ecr.require("AWS", "other")
    print(release.push("--repository", "else"))
    assert 0
