"""Two S3 servers: moto's, which stores objects, and one with the answers that a test sets."""

import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.sax.saxutils import escape

from job.storage import aws

REGION: Final = "eu-west-1"
START_SECONDS: Final = 60
REQUEST: Final = re.compile(r'"(?:\x1b\[[0-9;]*m)*([A-Z]+ \S+) HTTP/')  # moto logs refused ones in colour
RUNNING: Final = re.compile(r"Running on (http://\S+)\n")


class Moto(NamedTuple):
    """A running moto_server, and the file of its log."""

    url: str
    log: Path

    def requests(self) -> list[str]:
        """Return the requests so far, as ``GET /bucket/key?query``; keys are percent-encoded."""
        return REQUEST.findall(self.log.read_text(encoding="utf-8"))


@contextmanager
def running_moto(log: Path) -> Iterator[Moto]:
    """Run moto_server on a port of its own choice."""
    command = [sys.executable, "-m", "moto.server", "-p", "0"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        yield Moto(announced_address(process, log, RUNNING), log)
    finally:
        process.terminate()
        process.wait()


def announced_address(process: "subprocess.Popen[bytes]", log: Path, pattern: re.Pattern[str]) -> str:
    """Wait until a server's log holds its address, the group of `pattern`, and return it."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8")
        if match := pattern.search(text):
            return match[1]
        assert process.poll() is None, f"the server ended: {text}"
        time.sleep(0.02)
    raise AssertionError(f"the server has not started in {START_SECONDS} s: {text}")


def make_bucket(region: str = REGION) -> str:
    """Make a new bucket in a region, on the server the environment names, and return its name."""
    name = f"photos-{uuid.uuid4().hex[:12]}"
    # A bucket without a location constraint is in us-east-1, and S3 refuses that name as a constraint.
    configuration = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    options: Any = {} if region == "us-east-1" else configuration
    aws.session().client("s3", region_name=region).create_bucket(Bucket=name, **options)
    return name


class Answer(NamedTuple):
    """An answer of a scripted server."""

    status: int = 200
    body: bytes = b""


class ScriptedS3(ThreadingHTTPServer):
    """A server that answers with the first answer of its `rules` to a method and a target, else with nothing.

    Every bucket is in `region`; `asked` holds ``(method, target, authorization)`` of each request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.region = REGION
        self.rules: list[Callable[[str, str], Answer | None]] = []
        self.asked: list[tuple[str, str, str]] = []

    def targets(self, method: str) -> list[str]:
        """Return the targets of the requests of a method."""
        return [target for request_method, target, _ in self.asked if request_method == method]


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedS3
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: otherwise each answer waits 40 ms for an acknowledgement

    def _answer(self) -> None:
        self.server.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
        answers = (rule(self.command, self.path) for rule in self.server.rules)
        answer = next((answer for answer in answers if answer is not None), Answer())
        self.send_response(answer.status)
        self.send_header("x-amz-bucket-region", self.server.region)
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 21:00:00 GMT")
        self.send_header("ETag", '"0123"')
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_PUT = do_POST = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def running_scripted_s3() -> Iterator[ScriptedS3]:
    """Run a scripted server."""
    server = ScriptedS3()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def error_body(code: str, more: str = "") -> bytes:
    """Return an error in S3's form."""
    return f"<Error><Code>{code}</Code><Message>no</Message>{more}</Error>".encode()


def listing_body(keys: dict[str, int]) -> bytes:
    """Return a listing in S3's form, of percent-encoded keys and their sizes."""
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-21T21:00:00.000Z</LastModified>"
        f'<ETag>"0123"</ETag><Size>{size}</Size></Contents>'
        for key, size in keys.items()
    )
    head = "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>"
    return f"<ListBucketResult>{head}{contents}</ListBucketResult>".encode()
