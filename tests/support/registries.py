"""What a push needs: a checkout, an image of it, a docker that takes notes, and on loopback ECR.

ECR's API is moto's, in this process; behind it Debian's docker-registry keeps the images, and asks for the
password that the API hands out. Nobody tells moto of a push: before it answers which images there are, it
looks into the registry.
"""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError

import boto3
import pytest
from moto.ecr.models import ECRBackend, Image, Repository
from moto.moto_api._internal.models import moto_api_backend
from moto.server import ThreadedMotoServer

from tests.support.engine import docker
from tests.support.s3_servers import REGION

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it leaves with Python 3.13; this is 3.11
    import crypt

ROOT: Final = Path(__file__).parents[2]
BASE: Final = f"base@sha256:{'0' * 64}"
LABEL: Final = "org.opencontainers.image"
PROGRAM: Final = "docker-registry"
START_SECONDS: Final = 30
LISTENING: Final = "listening on "
# Whatever proxy the machine has is not for loopback.
DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# What engines push: the older ones the first, the newer ones one of the others.
MANIFESTS: Final = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)
# Writes down what docker is told, and keeps the folder of its settings as a push leaves it.
RECORDER: Final = """\
#!/bin/sh
printf '%s\\n' "$*" >> '{notes}/told'
'{docker}' "$@"
code=$?
[ "$1" != push ] || cp -R "$DOCKER_CONFIG" '{notes}/config'
exit $code
"""


class Registry:
    """A running docker-registry."""

    def __init__(self, address: str, htpasswd: Path) -> None:
        self.address = address
        self._htpasswd = htpasswd
        self._authorization = ""

    def require(self, user: str, password: str) -> None:
        """Ask for a password, and for no other."""
        salt = crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)  # as few as there can be
        self._htpasswd.write_text(f"{user}:{crypt.crypt(password, salt)}\n")
        self._authorization = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"

    def tags(self, repository: str) -> list[str]:
        """Return a repository's tags, in order; none if nothing was ever pushed there."""
        try:
            body, _ = self._get(f"{repository}/tags/list")
        except HTTPError as error:
            if error.code == 404:
                return []
            raise
        return sorted(json.loads(body)["tags"] or [])

    def manifest(self, repository: str, tag: str) -> tuple[str, str]:
        """Return the manifest of a tag, and what the registry says is its digest."""
        body, headers = self._get(f"{repository}/manifests/{tag}")
        return body.decode(), headers["Docker-Content-Digest"]

    def _get(self, path: str) -> tuple[bytes, Mapping[str, str]]:
        headers = {"Authorization": self._authorization, "Accept": ", ".join(MANIFESTS)}
        request = urllib.request.Request(f"http://{self.address}/v2/{path}", headers=headers)
        with DIRECT.open(request) as answer:
            return answer.read(), answer.headers


@contextmanager
def running_registry(folder: Path) -> Iterator[Registry]:
    """Run docker-registry on a port of its own choice, which it names in its log; nobody may use it yet."""
    if shutil.which(PROGRAM) is None:
        missing = f"{PROGRAM} was not found (Debian has it in a package of that name)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    folder.mkdir()
    htpasswd, config, log = (folder / name for name in ("htpasswd", "config.yml", "log"))
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "store")}},
        "auth": {"htpasswd": {"realm": "test", "path": str(htpasswd)}},
        "http": {"addr": "127.0.0.1:0"},
    }
    config.write_text(json.dumps(settings))  # which is YAML, too
    with log.open("wb") as file:
        process = subprocess.Popen([PROGRAM, "serve", str(config)], stdout=file, stderr=file)
    try:
        yield Registry(_announced_address(process, log), htpasswd)
    finally:
        process.terminate()
        process.wait()


def _announced_address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text()
        if LISTENING in text and text.endswith("\n"):
            return text.split(LISTENING)[1].split('"')[0].split()[0]
        assert process.poll() is None, f"{PROGRAM} ended: {text}"
        time.sleep(0.02)
    raise AssertionError(f"{PROGRAM} has not started in {START_SECONDS} s")


@contextmanager
def running_ecr(registry: Registry, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run moto's ECR in front of a registry, which asks for its password, and point AWS clients at it."""
    address = property(lambda self: f"{registry.address}/{self.name}", lambda self, value: None)  # noqa: ARG005
    patch.setattr(Repository, "uri", address, raising=False)
    describe = ECRBackend.describe_images

    def look_and_describe(backend: ECRBackend, name: str, *rest: Any) -> Iterable[Image]:
        _take_over(backend, registry)
        return describe(backend, name, *rest)

    patch.setattr(ECRBackend, "describe_images", look_and_describe)
    moto_api_backend.reset()  # it is this process's, and so is what other tests made in it
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
    try:
        registry.require(*credentials())
        yield
    finally:
        moto_api_backend.reset()
        server.stop()


def _take_over(backend: ECRBackend, registry: Registry) -> None:
    """Tell ECR what was pushed since."""
    for name, repository in backend.repositories.items():
        known = {tag for image in repository.images for tag in image.image_tags}
        for tag in set(registry.tags(name)) - known:
            manifest, digest = registry.manifest(name, tag)
            backend.put_image(name, manifest, tag, digest=digest)


def credentials() -> tuple[str, str]:
    """Return the user and the password that ECR hands out."""
    data = boto3.client("ecr", REGION).get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    return user, password


class Checkout:
    """A clean checkout with a revision of its own, and the images of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = f"push-test-{uuid.uuid4().hex[:12]}"
        for folder in ("scripts", "job"):
            shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
        (root / "docker").mkdir()
        shutil.copy(ROOT / "docker" / "release.env", root / "docker")
        self._git("init", "--quiet")
        self._git("add", "--all")
        who = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
        self._git(*who, "commit", "--quiet", "--message", self.name)
        self.revision = self._git("rev-parse", "HEAD")
        self.tag = self.revision[:12]
        self.image = f"{self.name}:{self.tag}"

    def build(self, revision: str | None = None, base: str = BASE) -> str:
        """Make an image of a few bytes with the labels that the Dockerfile gives, and return its id."""
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as tar:
            tar.addfile(tarfile.TarInfo(uuid.uuid4().hex))
        labels = {"title": self.name, "revision": revision or self.revision, "base.name": base}
        changes = [f"--change=LABEL {LABEL}.{name}={text}" for name, text in labels.items()]
        return docker("import", *changes, "-", self.image, data=sink.getvalue())

    def images(self) -> list[str]:
        """Return the ids of the images that were made here."""
        words = ("--quiet", "--no-trunc", "--filter", f"label={LABEL}.title={self.name}")
        return sorted(set(docker("images", *words).split()))

    def names(self) -> list[str]:
        """Return the names, by tag and by digest, that the engine has for the image of this revision."""
        found = json.loads(docker("image", "inspect", self.image))[0]
        return [*found["RepoTags"], *found["RepoDigests"]]

    def push(self, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run scripts.image.push as push-image.sh does, with more of an environment than the test's."""
        script = "scripts.image.push"
        command = [sys.executable, "-B", "-m", script, "--name", self.name, *options]
        env = os.environ | environment
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=self.root)

    def _git(self, *words: str) -> str:
        done = subprocess.run(["git", "-C", self.root, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()


class Recorder:
    """A docker, first on the PATH, that writes down in its folder what it is told."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        program = folder / "docker"
        program.write_text(RECORDER.format(notes=folder, docker=shutil.which("docker")))
        program.chmod(0o755)
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def told(self) -> list[str]:
        """Return the first words of what docker was told since the last time."""
        lines = (self.folder / "told").read_text().splitlines()
        (self.folder / "told").unlink()
        return [line.split()[0] for line in lines]


def refused(done: "subprocess.CompletedProcess[str]", code: int, said: str) -> None:
    """Check that a run ended with one sentence of ours; before it only docker may say why it did not push."""
    assert done.returncode == code, done.stderr
    *before, last = done.stderr.splitlines()
    assert last.startswith("error: ") and said in last, done.stderr
    assert not before or any(line.startswith("The push refers to") for line in before), done.stderr
    assert "@sha256:" not in done.stdout and "Traceback" not in done.stderr
