"""The small S3 server's state, and a connection: requests are noted, done, delayed and made to fail."""

import asyncio
import json
import socket
import struct
from typing import Any, Final

from scripts.s3_server.api import Answer, HttpRequest, answer, error
from scripts.s3_server.buckets import Buckets
from scripts.s3_server.faults import READS, Action, Fault, Faults, Hook, Request, When
from scripts.s3_server.http import headers_in, render, take

# A socket that is closed with this sends a reset instead of an end.
RESET: Final = struct.pack("ii", 1, 0)


class Server:
    """A running server: where it is, what it was asked, and what it keeps.

    Attributes
    ----------
    url : str
    requests : list of Request
        Every request that has arrived, in order.
    """

    def __init__(self, buckets: Buckets, latency_ms: float, faults: Faults) -> None:
        self.url = ""
        self.buckets, self.latency, self.faults = buckets, latency_ms / 1000, faults
        self.requests: list[Request] = []
        self.connections: set[asyncio.Transport] = set()

    def on(self, method: str, keys: str, nth: int | None, when: When, action: Action) -> None:
        """Act at the nth request from now (at all of them if None) of a method for keys like a pattern.

        An action is a :class:`Fault` or an :class:`Answer`, or is called in the server's thread and may
        return one: before the request is done it is then not done; afterwards only its answer is another.
        """
        self.faults.hooks.append(Hook(method, keys, nth, when, action))

    def count(self, method: str, key: str | None = None) -> int:
        """Return how many requests of a method there were (for one key, if it is given)."""
        return sum(one.method == method and key in (None, one.key) for one in list(self.requests))

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Keep an object, without a request."""
        with self.buckets.lock:
            self.buckets[bucket].put(key, data)

    def contents(self, bucket: str) -> dict[str, bytes]:
        """Return what is in a bucket, without a request."""
        with self.buckets.lock:
            return {key: stored.read() for key, stored in self.buckets[bucket].objects.items()}

    def control(self, asked: HttpRequest) -> Answer:
        """Answer what the server is asked about itself."""
        said: Any = None
        if asked.bucket == "_requests":
            said = self.requests
        elif asked.bucket == "_forget" and asked.method == "POST":
            self.requests.clear()
        else:
            return error(404, "NoSuchBucket")
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(said).encode())


class Connection(asyncio.Protocol):
    """A connection: a request, its answer, the next request."""

    transport: asyncio.Transport

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self.loop = server, loop
        self.received = bytearray()
        self.answering = self.continued = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.add(transport)

    def connection_lost(self, _: Exception | None) -> None:
        """Forget it."""
        self.server.connections.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        """Add what has arrived, which may be a part of a request, or more than one."""
        self.received += data
        self._next()

    def _next(self) -> None:
        headers = None if self.answering else headers_in(self.received)
        if headers is None:
            return
        if headers.get("expect") and not self.continued:
            self.continued = True
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        asked = take(self.received, headers)
        if asked:
            self.answering, self.continued = True, False
            self._do(asked)

    def _do(self, asked: HttpRequest) -> None:
        if asked.bucket.startswith("_"):
            self._send(asked, self.server.control(asked), None)
            return
        request = Request(asked.method, asked.bucket, asked.key)
        self.server.requests.append(request)
        plan = self.server.faults.plan(request)
        given, outcome = Answer(), plan.outcome("before")
        if outcome is None or asked.method in READS:
            with self.server.buckets.lock:
                given = answer(self.server.buckets, asked)
            outcome = outcome or plan.outcome("after")
        given, fault = (outcome, None) if isinstance(outcome, Answer) else (given, outcome)
        if self.server.latency:
            self.loop.call_later(self.server.latency, self._send, asked, given, fault)
        else:
            self._send(asked, given, fault)

    def _send(self, asked: HttpRequest, given: Answer, fault: Fault | None) -> None:
        if self.transport.is_closing() or fault is Fault.SILENT:
            return
        if fault is Fault.RESET:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()
            return
        if fault in (Fault.SLOW_DOWN, Fault.INTERNAL_ERROR):
            code = "SlowDown" if fault is Fault.SLOW_DOWN else "InternalError"
            given = error(fault.value, code)
        head, body = render(given, asked.method)
        if fault in (Fault.CUT, Fault.STALL):
            # In the middle of the body, or, where there is none, of the first line: some clients are content
            # with headers that have no end.
            self.transport.write(head + body[: len(body) // 2] if len(body) > 1 else head[:10])
            if fault is Fault.CUT:
                self.transport.close()
            return
        self.transport.write(head + body)
        self.answering = False
        if asked.headers.get("connection", "").lower() == "close":
            self.transport.close()
        else:
            self.loop.call_soon(self._next)
