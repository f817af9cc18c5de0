"""The small S3 server: each fault occurs as it is named, and every request is recorded."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from http.client import BadStatusLine, HTTPConnection, HTTPException, IncompleteRead
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from scripts.s3_server.__main__ import running
from scripts.s3_server.faults import Fault, Faults, Request, When
from scripts.s3_server.server import Server

BUCKET: Final = "photos"
PHOTO: Final = b"photo" * 1000
HALF: Final = PHOTO[: len(PHOTO) // 2]
SLOW: Final = (Fault.SILENT, Fault.STALL)
WHEN: Final[tuple[When, When]] = ("before", "after")


class Received(NamedTuple):
    """The part of an answer that reached a client, and the error that ended it."""

    status: int = 0
    body: bytes = b""
    error: type[Exception] | None = None


@pytest.fixture
def server() -> Iterator[Server]:
    with running(buckets=(BUCKET,)) as started:
        started.put(BUCKET, "x.jpg", PHOTO)
        yield started


def ask(server: Server, method: str, key: str, timeout: float = 60) -> Received:
    """Send one request, on a connection of its own."""
    received = Received()
    with closing(HTTPConnection(server.url.removeprefix("http://"), timeout=timeout)) as connection:
        try:
            connection.request(method, f"/{BUCKET}/{key}")
            answer = connection.getresponse()
            received = Received(answer.status, answer.read(len(HALF)))
            return received._replace(body=received.body + answer.read())
        except (OSError, HTTPException) as error:
            return received._replace(error=type(error))


@pytest.mark.parametrize(
    ("method", "fault", "expected"),
    [
        ("GET", Fault.SLOW_DOWN, Received(503, b"SlowDown")),
        ("GET", Fault.INTERNAL_ERROR, Received(500, b"InternalError")),
        ("GET", Fault.RESET, Received(error=ConnectionResetError)),  # an end of the connection is a subclass
        ("GET", Fault.SILENT, Received(error=TimeoutError)),
        ("GET", Fault.CUT, Received(200, HALF, IncompleteRead)),
        ("GET", Fault.STALL, Received(200, HALF, TimeoutError)),
        ("HEAD", Fault.CUT, Received(error=BadStatusLine)),  # in the first line, where there is no body
    ],
)
def test_each_fault_occurs_as_it_is_named(
    server: Server, method: str, fault: Fault, expected: Received
) -> None:
    server.on(method, "*", 1, "after", fault)
    received = ask(server, method, "x.jpg", timeout=0.5 if fault in SLOW else 60)
    if expected.status >= 500:
        assert b"<Code>%b<" % expected.body in received.body
        received = received._replace(body=expected.body)
    assert received == expected
    assert server.faults.done == {fault.name: 1}
    assert ask(server, "GET", "x.jpg") == Received(200, PHOTO), "the next request is answered"


def test_only_the_chosen_request_fails_and_every_request_is_counted(server: Server) -> None:
    calls: list[int] = []
    server.on("GET", "x*", 2, "before", Fault.SLOW_DOWN)
    server.on("GET", "y", None, "after", lambda: calls.append(1))
    x, y = ("GET", "x.jpg"), ("GET", "y")
    requests = [y, x, ("HEAD", "x.jpg"), x, x, y]
    assert [ask(server, *request).status for request in requests] == [404, 200, 200, 503, 200, 404]
    assert calls == [1, 1]
    assert server.requests == [Request(method, BUCKET, key) for method, key in requests]
    assert (server.count("GET"), server.count("GET", "x.jpg")) == (5, 3)


def failures(faults: Faults, requests: list[Request]) -> dict[Request, int]:
    """Send each request twice; return those that fail: 1 for the first time, 2 for the second, 3 for both."""
    failed: Counter[Request] = Counter()
    for nth in (1, 2):
        for request in requests:
            plan = faults.plan(request)
            failed[request] += nth * any(plan.outcome(when) for when in WHEN)
    return +failed


def test_the_failing_requests_depend_only_on_the_seed() -> None:
    requests = [Request("GET", BUCKET, f"{number}.jpg") for number in range(2000)]
    faults = Faults(0.05, seed=3)
    failed = failures(faults, requests)
    assert failures(Faults(0.05, seed=3), requests[::-1]) == failed
    assert failures(Faults(0.05, seed=4), requests) != failed
    assert failures(Faults(), requests) == {}
    assert set(failed.values()) >= {1, 2}, "a request that failed once does not fail for ever"
    assert 150 < sum(faults.done.values()) < 250  # of 4000
    assert max(faults.done.values()) - min(faults.done[kind.name] for kind in Fault) <= 1, "each in turn"


def test_a_write_fails_before_or_after_it_is_done() -> None:
    faults = Faults(1)
    plans = [faults.plan(Request("PUT", BUCKET, str(number))) for number in range(100)]
    failed = Counter((plan.outcome(when), when) for plan in plans for when in WHEN)
    impossible = {(fault, "before") for fault in (Fault.CUT, Fault.STALL)}  # such an answer has begun
    assert {outcome: times for outcome, times in failed.items() if outcome[0]} == {
        (fault, when): 10 for fault in Fault for when in WHEN if (fault, when) not in impossible
    }


def test_a_folder_is_served_unchanged_and_each_answer_waits(tmp_path: Path) -> None:
    key, other = "%C3%A9%20b.jpg", "z.jpg"
    files = {tmp_path / name: name.encode() for name in ("é b.jpg", other)}
    for path, data in files.items():
        path.write_bytes(data)
    with running(folders={BUCKET: tmp_path}, latency_ms=80) as server:
        start = time.monotonic()
        assert ask(server, "GET", key) == Received(200, "é b.jpg".encode())
        assert time.monotonic() - start >= 0.08
        assert (ask(server, "PUT", other).status, ask(server, "DELETE", key).status) == (200, 204)
        assert server.contents(BUCKET) == {other: b""}
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files
