"""A checkout and an image of it to push, a docker that records its arguments, and ECR on loopback.

moto serves ECR's API in this process. Debian's docker-registry stores the images, and requires the password
that the API hands out. moto does not see a push, so it looks into the registry before it lists images.
"""

import base64
import hashlib
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
# The manifests that engines push: older engines the first type, newer ones the others.
MANIFESTS: Final = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)
# Records docker's arguments, and keeps the folder of its settings as a push leaves it.
RECORDER_SCRIPT: Final = """\
#!/bin/sh
printf '%s\\n' "$*" >> '{folder}/commands'
'{docker}' "$@"
code=$?
[ "$1" != push ] || cp -R "$DOCKER_CONFIG" '{folder}/config'
exit $code
"""


class Registry:
    """A running docker-registry."""

    def __init__(self, address: str, htpasswd: Path) -> None:
        self.address = address
        self._htpasswd = htpasswd
        self._authorization = ""

    def require(self, user: str, password: str) -> None:
        """Accept one user and password, and no others."""
        salt = crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)  # the minimum
        self._htpasswd.write_text(f"{user}:{crypt.crypt(password, salt)}\n")
        self._authorization = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"

    def tags(self, repository: str) -> list[str]:
        """Return a repository's tags in order; none if nothing was pushed there."""
        try:
            body, _ = self._get(f"{repository}/tags/list")
        except HTTPError as error:
            if error.code == 404:
                return []
            raise
        return sorted(json.loads(body)["tags"] or [])

    def manifest(self, repository: str, tag: str) -> tuple[str, str]:
        """Return the manifest of a tag, and its digest as the registry states it."""
        body, headers = self._get(f"{repository}/manifests/{tag}")
        return body.decode(), headers["Docker-Content-Digest"]

    def _get(self, path: str) -> tuple[bytes, Mapping[str, str]]:
        headers = {"Authorization": self._authorization, "Accept": ", ".join(MANIFESTS)}
        request = urllib.request.Request(f"http://{self.address}/v2/{path}", headers=headers)
        with DIRECT.open(request) as answer:
            return answer.read(), answer.headers


@contextmanager
def running_registry(folder: Path) -> Iterator[Registry]:
    """Run docker-registry on a free port, which its log names; it accepts no password yet."""
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
    """Run moto's ECR in front of a registry that requires its password, and point AWS clients at it."""
    address = property(lambda self: f"{registry.address}/{self.name}", lambda self, value: None)  # noqa: ARG005
    patch.setattr(Repository, "uri", address, raising=False)
    describe = ECRBackend.describe_images

    def add_and_describe(backend: ECRBackend, name: str, *rest: Any) -> Iterable[Image]:
        _add_pushed_images(backend, registry)
        return describe(backend, name, *rest)

    patch.setattr(ECRBackend, "describe_images", add_and_describe)
    moto_api_backend.reset()  # other tests of this process use the same backend
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
    try:
        registry.require(*credentials())
        yield
    finally:
        moto_api_backend.reset()
        server.stop()


def _add_pushed_images(backend: ECRBackend, registry: Registry) -> None:
    """Add the newly pushed images to moto's ECR."""
    for name, repository in backend.repositories.items():
        known = {tag for image in repository.images for tag in image.image_tags}
        for tag in set(registry.tags(name)) - known:
            manifest, digest = registry.manifest(name, tag)
            backend.put_image(name, manifest, tag, digest=digest)


def credentials() -> tuple[str, str]:
    """Return ECR's user and password."""
    data = boto3.client("ecr", REGION).get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    return user, password


def _tar(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of files, by name."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return sink.getvalue()


class Checkout:
    """A clean checkout with a new revision, and images of it."""

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

    def build(self, revision: str | None = None, base: str = BASE, architecture: str = "amd64") -> None:
        """Make a small image with the Dockerfile's labels."""
        layer = _tar({uuid.uuid4().hex: b""})
        labels = {"title": self.name, "revision": revision or self.revision, "base.name": base}
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": {f"{LABEL}.{name}": text for name, text in labels.items()}},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": [self.image], "Layers": ["layer.tar"]}]
        files = {"config.json": json.dumps(config).encode(), "layer.tar": layer}
        docker("load", data=_tar(files | {"manifest.json": json.dumps(manifest).encode()}))

    def images(self) -> list[str]:
        """Return the ids of this checkout's images."""
        words = ("--quiet", "--no-trunc", "--filter", f"label={LABEL}.title={self.name}")
        return sorted(set(docker("images", *words).split()))

    def names(self) -> list[str]:
        """Return the engine's names, by tag and by digest, of the image of this revision."""
        facts = json.loads(docker("image", "inspect", self.image))[0]
        return [*facts["RepoTags"], *facts["RepoDigests"]]

    def push(self, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run scripts.image.push as push-image.sh does, with additional environment variables."""
        script = "scripts.image.push"
        command = [sys.executable, "-B", "-m", script, "--name", self.name, *options]
        env = os.environ | environment
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=self.root)

    def _git(self, *words: str) -> str:
        result = subprocess.run(["git", "-C", self.root, *words], capture_output=True, text=True, check=True)
        return result.stdout.strip()


class Recorder:
    """A docker, first on the PATH, that records its arguments in a folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        program = folder / "docker"
        program.write_text(RECORDER_SCRIPT.format(folder=folder, docker=shutil.which("docker")))
        program.chmod(0o755)
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def commands(self) -> list[str]:
        """Return docker's subcommands since the last call."""
        lines = (self.folder / "commands").read_text().splitlines()
        (self.folder / "commands").unlink()
        return [line.split()[0] for line in lines]


def assert_refused(result: "subprocess.CompletedProcess[str]", code: int, sentence: str) -> None:
    """Check that a push ended with one error sentence, after docker's own output at most."""
    assert result.returncode == code, result.stderr
    *before, last = result.stderr.splitlines()
    assert last.startswith("error: ") and sentence in last, result.stderr
    assert not before or any(line.startswith("The push refers to") for line in before), result.stderr
    assert "@sha256:" not in result.stdout and "Traceback" not in result.stderr
