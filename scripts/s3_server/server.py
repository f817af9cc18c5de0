"""The small S3 server's state and its connections: they record, do, delay and fail requests."""

import asyncio
import json
import socket
import struct
from typing import Any, Final

from scripts.s3_server.api import Answer, HttpRequest, error, respond
from scripts.s3_server.buckets import Buckets
from scripts.s3_server.faults import READS, Action, Fault, Faults, Hook, Request, When
from scripts.s3_server.http import headers_in, render, take_request

# With this option of SO_LINGER, a closed socket sends a reset instead of an end.
RESET: Final = struct.pack("ii", 1, 0)


class Server:
    """A running server: its URL, its buckets, its faults and, in order, every request that has arrived."""

    def __init__(self, buckets: Buckets, latency_ms: float, faults: Faults) -> None:
        self.url = ""
        self.buckets, self.latency, self.faults = buckets, latency_ms / 1000, faults
        self.requests: list[Request] = []
        self.connections: set[asyncio.Transport] = set()

    def on(self, method: str, keys: str, nth: int | None, when: When, action: Action) -> None:
        """Add an action at the nth request from now (at all if None) of a method for keys like a pattern.

        An action is a :class:`Fault`, an :class:`Answer`, or a function that is called in the server's thread
        and may return one of them. With "before", the request is then not done; with "after", it is done and
        only its answer is replaced.
        """
        self.faults.hooks.append(Hook(method, keys, nth, when, action))

    def count(self, method: str, key: str | None = None) -> int:
        """Return the number of requests of a method, for one key if it is given."""
        return sum(item.method == method and key in (None, item.key) for item in list(self.requests))

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Store an object, without a request."""
        with self.buckets.lock:
            self.buckets[bucket].put(key, data)

    def contents(self, bucket: str) -> dict[str, bytes]:
        """Return the objects of a bucket, without a request."""
        with self.buckets.lock:
            return {key: stored.read() for key, stored in self.buckets[bucket].objects.items()}

    def control(self, request: HttpRequest) -> Answer:
        """Answer a request about the server itself."""
        content: Any = None
        if request.bucket == "_requests":
            content = self.requests
        elif request.bucket == "_forget" and request.method == "POST":
            self.requests.clear()
        else:
            return error(404, "NoSuchBucket")
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(content).encode())


class Connection(asyncio.Protocol):
    """A connection: a request, its answer, the next request."""

    transport: asyncio.Transport

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self.loop = server, loop
        self.received = bytearray()
        self.is_answering = self.has_continued = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport of the new connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.add(transport)

    def connection_lost(self, _: Exception | None) -> None:
        """Remove the transport of the closed connection."""
        self.server.connections.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        """Add received bytes, which may be a part of a request, or more than one."""
        self.received += data
        self._next()

    def _next(self) -> None:
        headers = None if self.is_answering else headers_in(self.received)
        if headers is None:
            return
        if headers.get("expect") and not self.has_continued:
            self.has_continued = True
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = take_request(self.received, headers)
        if request:
            self.is_answering, self.has_continued = True, False
            self._do(request)

    def _do(self, request: HttpRequest) -> None:
        if request.bucket.startswith("_"):
            self._send(request, self.server.control(request), None)
            return
        record = Request(request.method, request.bucket, request.key)
        self.server.requests.append(record)
        plan = self.server.faults.plan(record)
        answer, outcome = Answer(), plan.outcome("before")
        if outcome is None or request.method in READS:
            with self.server.buckets.lock:
                answer = respond(self.server.buckets, request)
            outcome = outcome or plan.outcome("after")
        answer, fault = (outcome, None) if isinstance(outcome, Answer) else (answer, outcome)
        if self.server.latency:
            self.loop.call_later(self.server.latency, self._send, request, answer, fault)
        else:
            self._send(request, answer, fault)

    def _send(self, request: HttpRequest, answer: Answer, fault: Fault | None) -> None:
        if self.transport.is_closing() or fault is Fault.SILENT:
            return
        if fault is Fault.RESET:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()
            return
        if fault in (Fault.SLOW_DOWN, Fault.INTERNAL_ERROR):
            code = "SlowDown" if fault is Fault.SLOW_DOWN else "InternalError"
            answer = error(fault.value, code)
        head, body = render(answer, request.method)
        if fault in (Fault.CUT, Fault.STALL):
            # In the middle of the body, or, where there is none, of the first line: some clients accept
            # headers without an end.
            self.transport.write(head + body[: len(body) // 2] if len(body) > 1 else head[:10])
            if fault is Fault.CUT:
                self.transport.close()
            return
        self.transport.write(head + body)
        self.is_answering = False
        if request.headers.get("connection", "").lower() == "close":
            self.transport.close()
        else:
            self.loop.call_soon(self._next)
