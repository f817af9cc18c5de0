"""AWS on loopback: moto's emulator inside the test's process, and what a test wants to go wrong.

Added to moto: a client token is honoured, and a job run goes through the states that a test has written.
"""

import io
import json
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from moto.emrcontainers.models import emrcontainers_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

ACCOUNT: Final = "123456789012"
REGION: Final = "eu-west-1"


class Request(NamedTuple):
    """A request as the emulator sees it: ``action`` is what query and JSON services are asked for.

    ``key`` is the access key that signed it.
    """

    method: str
    path: str
    action: str
    body: bytes
    key: str = ""


class Answer(NamedTuple):
    """An answer in place of the emulator's; without a status the connection is cut."""

    status: int | None
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


@dataclass
class Cloud:
    """The emulator: what was asked, what goes wrong, and what becomes of job runs.

    ``rules`` are asked first, and may answer instead of moto. ``states`` are what a job run becomes, one each
    time it is described; ``then`` in one of them is called before.
    """

    url: str = ""
    requests: list[Request] = field(default_factory=list, repr=False)
    rules: list[Callable[[Request], Answer | None]] = field(default_factory=list, repr=False)
    states: deque[dict[str, Any]] = field(default_factory=deque)
    _tokens: dict[str, tuple[str, list[tuple[str, str]], bytes]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def clear(self) -> None:
        """Forget everything."""
        moto_api_backend.reset()
        self.requests.clear()
        self.rules.clear()
        self.states.clear()
        self._tokens.clear()

    def fail_once(self, wanted: Callable[[Request], bool], *answers: Answer) -> None:
        """Answer the first requests of a kind with these, one each."""
        left = deque(answers)
        self.rules.append(lambda request: left.popleft() if left and wanted(request) else None)

    def runs(self) -> list[Any]:
        """Return moto's job runs, oldest first; their attributes may be set."""
        return list(emrcontainers_backends[ACCOUNT][REGION].job_runs.values())

    def virtual_clusters(self) -> list[Any]:
        """Return moto's virtual clusters."""
        return list(emrcontainers_backends[ACCOUNT][REGION].virtual_clusters.values())

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any], app: Any) -> Iterable[bytes]:
        """Answer one request of WSGI."""
        request = _read(environ)
        self.requests.append(request)
        # Both may ask the emulator themselves.
        for rule in self.rules:
            if (given := rule(request)) is not None:
                return _give(given, environ, start)
        self._play(request)
        with self._lock:
            return self._once(request, environ, start, app)

    def _play(self, request: Request) -> None:
        """Give a run that is described its next state; the last one stays."""
        parts = request.path.split("?")[0].split("/")
        if request.method == "GET" and parts[1:2] == ["virtualclusters"] and parts[3:4] == ["jobruns"]:
            for run in self.runs():
                if len(parts) == 5 and run.id == parts[4] and self.states:
                    for name, value in self.states.popleft().items():
                        if name == "then":
                            value()
                        else:
                            setattr(run, name, value)

    def _once(self, request: Request, environ: dict[str, Any], start: Any, app: Any) -> Iterable[bytes]:
        """Answer a request whose client token was seen before with what it was answered then."""
        token = ""
        if request.method == "POST" and request.path.startswith("/virtualclusters"):
            token = json.loads(request.body or b"{}").get("clientToken", "")
        if token and token in self._tokens:
            status, headers, body = self._tokens[token]
            start(status, headers)
            return [body]
        kept: list[Any] = []

        def keep(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            kept[:] = [status, headers]
            return start(status, headers, *rest)

        body = b"".join(app(environ, keep))
        if request.method == "POST" and request.path.endswith("/jobruns") and kept[0].startswith("2"):
            self.runs()[-1].created_at = datetime.now(UTC)  # moto says midnight
        if token and kept[0].startswith("2"):
            self._tokens[token] = (kept[0], kept[1], body)
        return [body]


@contextmanager
def running() -> Iterator[Cloud]:
    """Run the emulator on a port of its own choice."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    cloud = Cloud()
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, lambda environ, start: cloud(environ, start, app), threaded=True)
    cloud.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield cloud
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _read(environ: dict[str, Any]) -> Request:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else b""
    if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked":
        body = environ["wsgi.input"].read()
    environ["wsgi.input"] = io.BytesIO(body)
    action = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    if not action and body.startswith(b"Action="):
        action = body.split(b"&")[0].partition(b"=")[2].decode()
    signed = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2]
    key = signed.partition("/")[0]
    query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
    return Request(environ["REQUEST_METHOD"], environ["PATH_INFO"] + query, action, body, key)


def _give(answer: Answer, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    if answer.status is None:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError("as the test wants it")
    start(f"{answer.status} -", [*answer.headers, ("Content-Length", str(len(answer.body)))])
    return [answer.body]
