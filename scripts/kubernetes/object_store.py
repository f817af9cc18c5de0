"""MinIO, a real S3 server, for a local cluster and for tests: its buckets are in Ireland."""

import os
import re
import secrets
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config

from job.errors import JobError
from scripts.kubernetes import go_programs
from scripts.kubernetes.machine import Machine

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION: Final = "eu-west-1"
# An address of no network (RFC 5737), which the network policies take for S3's.
ADDRESS: Final = "203.0.113.10"
START_SECONDS: Final = 60
STOP_SECONDS: Final = 15
API: Final = re.compile(r"^API: (http://[\d.:]+)", re.MULTILINE)
LOG_CHARACTERS: Final = 4000
CONNECTIONS: Final = 16
DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class ObjectStore:
    """A running MinIO. Its password is not in its repr.

    ``network`` gives the calling thread the network in which the server is.
    """

    url: str
    log: Path
    user: str = field(repr=False)
    password: str = field(repr=False)
    network: Callable[[], AbstractContextManager[None]] = nullcontext

    def environment(self) -> dict[str, str]:
        """Return the variables that point AWS clients at this server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.user,
            "AWS_SECRET_ACCESS_KEY": self.password,
            "AWS_REGION": REGION,
        }

    @cached_property
    def client(self) -> "S3Client":
        """A client that ignores the environment; it connects in the network of the thread that calls it."""
        session = boto3.Session(self.user, self.password, region_name=REGION)
        config = Config(max_pool_connections=CONNECTIONS, proxies={})
        client: S3Client = session.client("s3", endpoint_url=self.url, config=config)
        return client

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket in Ireland."""
        with self.network():
            self.client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Put an object."""
        with self.network():
            self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def contents(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Return all objects below a prefix, by key."""
        with self.network():
            keys = self._keys(bucket, prefix)
            return {key: self.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def upload(self, folder: Path, bucket: str, prefix: str) -> int:
        """Upload a folder's files below ``PREFIX/`` and return their number."""
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]

        def put(file: Path) -> None:
            key = f"{prefix}/{file.relative_to(folder).as_posix()}"
            self.client.put_object(Bucket=bucket, Key=key, Body=file.read_bytes())

        # A thread has the network of the thread that starts it.
        with self.network(), ThreadPoolExecutor(CONNECTIONS) as threads:
            for _ in threads.map(put, files):
                pass
        return len(files)

    def download(self, bucket: str, prefix: str, folder: Path) -> int:
        """Download the objects below ``PREFIX/`` into a folder and return their number."""
        below = f"{prefix}/"

        def get(key: str) -> None:
            file = folder / key.removeprefix(below)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

        with self.network(), ThreadPoolExecutor(CONNECTIONS) as threads:
            keys = self._keys(bucket, below)
            for _ in threads.map(get, keys):
                pass
        return len(keys)

    def _keys(self, bucket: str, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]


@contextmanager
def running(folder: Path, machine: Machine | None = None) -> Iterator[ObjectStore]:
    """Run MinIO at `ADDRESS`, port 443, on a machine, or at a free port on loopback; its data go with it.

    It gets nothing of this process's environment, and contacts no other host.

    Raises
    ------
    JobError
        If it does not start.
    """
    user, password = secrets.token_hex(8), secrets.token_hex(16)
    data, log = folder / "data", folder / "minio.log"
    environment = {
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "MINIO_ROOT_USER": user,
        "MINIO_ROOT_PASSWORD": password,
        "MINIO_SITE_REGION": REGION,  # otherwise its buckets are in no region
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "MINIO_CALLHOME_ENABLE": "off",
        "MINIO_CI_CD": "on",  # less memory
    }
    address = "127.0.0.1:0" if machine is None else f"{ADDRESS}:443"
    command = [
        str(go_programs.minio()),
        "server",
        "--address",
        address,
        "--certs-dir",
        f"{folder}/certs",
        str(data),
    ]
    if machine is not None:
        machine.run("ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo")
        command = machine.command(*command)
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, process_group=0
        )
    network = nullcontext if machine is None else machine.network
    try:
        yield ObjectStore(_ready_url(process, log, network), log, user, password, network)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(data, ignore_errors=True)


def _ready_url(
    process: "subprocess.Popen[bytes]", log: Path, network: Callable[[], AbstractContextManager[None]]
) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8")
        if process.poll() is not None:
            raise JobError(f"MinIO ended: {text[-LOG_CHARACTERS:]}")
        if (announced := API.search(text)) and _answers(f"{announced[1]}/minio/health/ready", network):
            return announced[1]
        time.sleep(0.02)
    raise JobError(f"MinIO is not ready after {START_SECONDS} s: {text[-LOG_CHARACTERS:]}")


def _answers(url: str, network: Callable[[], AbstractContextManager[None]]) -> bool:
    try:
        with network(), DIRECT.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
