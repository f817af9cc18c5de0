"""AWS on loopback: moto's emulator in the test's process, with faults that a test chooses.

Two things are added to moto: it honours client tokens, and job runs go through states that a test sets.
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
    """A request to the emulator.

    ``action`` is the operation of query and JSON services; ``key`` is the access key that signed the request.
    """

    method: str
    path: str
    action: str
    body: bytes
    key: str = ""


class Answer(NamedTuple):
    """An answer that replaces the emulator's; without a status, the connection is cut."""

    status: int | None
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


@dataclass
class Cloud:
    """The emulator: its requests, the rules for faults, and the states of job runs.

    ``rules`` see a request first, and may answer instead of moto. A job run takes the next of ``states`` each
    time it is described; a function ``then`` in a state is called first.
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

    def fail_once(self, matches: Callable[[Request], bool], *answers: Answer) -> None:
        """Give these answers, one each, to the first requests that match."""
        waiting = deque(answers)
        self.rules.append(lambda request: waiting.popleft() if waiting and matches(request) else None)

    def runs(self) -> list[Any]:
        """Return moto's job runs, oldest first; their attributes may be set."""
        return list(emrcontainers_backends[ACCOUNT][REGION].job_runs.values())

    def virtual_clusters(self) -> list[Any]:
        """Return moto's virtual clusters."""
        return list(emrcontainers_backends[ACCOUNT][REGION].virtual_clusters.values())

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any], app: Any) -> Iterable[bytes]:
        """Answer one WSGI request."""
        request = _read(environ)
        self.requests.append(request)
        # Rules and states may send requests to the emulator themselves, so the lock comes after them.
        for rule in self.rules:
            if (answer := rule(request)) is not None:
                return _send(answer, environ, start)
        self._set_next_state(request)
        with self._lock:
            return self._answer_once(request, environ, start, app)

    def _set_next_state(self, request: Request) -> None:
        """Give a run that is described its next state; the last state stays."""
        parts = request.path.split("?")[0].split("/")
        if request.method == "GET" and parts[1:2] == ["virtualclusters"] and parts[3:4] == ["jobruns"]:
            for run in self.runs():
                if len(parts) == 5 and run.id == parts[4] and self.states:
                    for name, value in self.states.popleft().items():
                        if name == "then":
                            value()
                        else:
                            setattr(run, name, value)

    def _answer_once(
        self, request: Request, environ: dict[str, Any], start: Any, app: Any
    ) -> Iterable[bytes]:
        """Let moto answer, but repeat its answer to a request whose client token was seen before."""
        token = ""
        if request.method == "POST" and request.path.startswith("/virtualclusters"):
            token = json.loads(request.body or b"{}").get("clientToken", "")
        if token and token in self._tokens:
            status, headers, body = self._tokens[token]
            start(status, headers)
            return [body]
        head: list[Any] = []

        def start_and_keep(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            head[:] = [status, headers]
            return start(status, headers, *rest)

        body = b"".join(app(environ, start_and_keep))
        if request.method == "POST" and request.path.endswith("/jobruns") and head[0].startswith("2"):
            self.runs()[-1].created_at = datetime.now(UTC)  # moto says midnight
        if token and head[0].startswith("2"):
            self._tokens[token] = (head[0], head[1], body)
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
    credential = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2]
    key = credential.partition("/")[0]
    query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
    return Request(environ["REQUEST_METHOD"], environ["PATH_INFO"] + query, action, body, key)


def _send(answer: Answer, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    if answer.status is None:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError("a fault that the test has set")
    start(f"{answer.status} -", [*answer.headers, ("Content-Length", str(len(answer.body)))])
    return [answer.body]
