"""ECR on loopback: moto's API in this process, in front of Debian's docker-registry, which keeps the images.

The registry asks for the password that the API hands out. Nobody tells moto of a push, so before it answers
what images there are, it looks into the registry.
"""

import base64
import crypt
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from urllib.error import HTTPError

import boto3
import pytest
from moto.ecr.models import ECRBackend, Image, Repository
from moto.server import ThreadedMotoServer

from tests.s3_servers import REGION

PROGRAM: Final = "docker-registry"
START_SECONDS: Final = 30
LISTENING: Final = "listening on "
# Whatever proxy the machine has is not for loopback.
DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"


class Manifest(NamedTuple):
    """What a registry knows of an image: the digest is the registry's own word."""

    text: str
    digest: str


class Registry:
    """A running docker-registry."""

    def __init__(self, address: str, htpasswd: Path) -> None:
        self.address = address
        self._htpasswd = htpasswd
        self._authorization = ""

    def require(self, user: str, password: str) -> Self:
        """Ask for a password, and for no other."""
        salt = crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)  # as few as there can be
        self._htpasswd.write_text(f"{user}:{crypt.crypt(password, salt)}\n")
        self._authorization = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
        return self

    def tags(self, repository: str) -> list[str]:
        """Return a repository's tags, in order; none if nothing was ever pushed there."""
        try:
            body, _ = self._get(f"{repository}/tags/list")
        except HTTPError as error:
            if error.code == 404:
                return []
            raise
        return sorted(json.loads(body)["tags"] or [])

    def manifest(self, repository: str, tag: str) -> Manifest:
        """Return the manifest of a tag."""
        body, headers = self._get(f"{repository}/manifests/{tag}")
        return Manifest(body.decode(), headers["Docker-Content-Digest"])

    def _get(self, path: str) -> tuple[bytes, Mapping[str, str]]:
        headers = {"Authorization": self._authorization, "Accept": MANIFEST}
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
    htpasswd.touch()
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
def running_ecr(registry: Registry, patch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Run moto's ECR in front of a registry, point AWS clients at it, and give the registry its password."""
    address = property(lambda self: f"{registry.address}/{self.name}", lambda self, value: None)  # noqa: ARG005
    patch.setattr(Repository, "uri", address, raising=False)
    describe = ECRBackend.describe_images

    def look_and_describe(backend: ECRBackend, name: str, *rest: Any) -> Iterable[Image]:
        _take_over(backend, registry)
        return describe(backend, name, *rest)

    patch.setattr(ECRBackend, "describe_images", look_and_describe)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    try:
        yield registry.require(*credentials())
    finally:
        DIRECT.open(f"http://{host}:{port}/moto-api/reset", data=b"").close()
        server.stop()


def _take_over(backend: ECRBackend, registry: Registry) -> None:
    """Tell ECR what was pushed since."""
    for name, repository in backend.repositories.items():
        known = {tag for image in repository.images for tag in image.image_tags}
        for tag in set(registry.tags(name)) - known:
            found = registry.manifest(name, tag)
            backend.put_image(name, found.text, tag, MANIFEST, found.digest)


def credentials() -> tuple[str, str]:
    """Return the user and the password that ECR hands out."""
    data = boto3.client("ecr", REGION).get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    return user, password
