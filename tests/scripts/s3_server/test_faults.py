"""The small S3 server's own promises: faults are what they are called, and what is asked of it is counted."""

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


class Seen(NamedTuple):
    """What a client sees of an answer."""

    status: int = 0
    body: bytes = b""
    error: type[Exception] | None = None


@pytest.fixture
def server() -> Iterator[Server]:
    with running(buckets=(BUCKET,)) as started:
        started.put(BUCKET, "x.jpg", PHOTO)
        yield started


def ask(server: Server, method: str, key: str, timeout: float = 60) -> Seen:
    """Ask once, on a connection of its own."""
    seen = Seen()
    with closing(HTTPConnection(server.url.removeprefix("http://"), timeout=timeout)) as connection:
        try:
            connection.request(method, f"/{BUCKET}/{key}")
            answer = connection.getresponse()
            seen = Seen(answer.status, answer.read(len(HALF)))
            return seen._replace(body=seen.body + answer.read())
        except (OSError, HTTPException) as error:
            return seen._replace(error=type(error))


@pytest.mark.parametrize(
    ("method", "fault", "wanted"),
    [
        ("GET", Fault.SLOW_DOWN, Seen(503, b"SlowDown")),
        ("GET", Fault.INTERNAL_ERROR, Seen(500, b"InternalError")),
        ("GET", Fault.RESET, Seen(error=ConnectionResetError)),  # an end of the connection is a subclass
        ("GET", Fault.SILENT, Seen(error=TimeoutError)),
        ("GET", Fault.CUT, Seen(200, HALF, IncompleteRead)),
        ("GET", Fault.STALL, Seen(200, HALF, TimeoutError)),
        ("HEAD", Fault.CUT, Seen(error=BadStatusLine)),  # in the first line, where there is no body
    ],
)
def test_each_fault_occurs_as_it_is_named(server: Server, method: str, fault: Fault, wanted: Seen) -> None:
    server.on(method, "*", 1, "after", fault)
    seen = ask(server, method, "x.jpg", timeout=0.5 if fault in SLOW else 60)
    if wanted.status >= 500:
        assert b"<Code>%b<" % wanted.body in seen.body
        seen = seen._replace(body=wanted.body)
    assert seen == wanted
    assert server.faults.done == {fault.name: 1}
    assert ask(server, "GET", "x.jpg") == Seen(200, PHOTO), "the next request is answered"


def test_only_the_request_that_is_named_fails_and_every_one_is_counted(server: Server) -> None:
    called: list[int] = []
    server.on("GET", "x*", 2, "before", Fault.SLOW_DOWN)
    server.on("GET", "y", None, "after", lambda: called.append(1))
    x, y = ("GET", "x.jpg"), ("GET", "y")
    asked = [y, x, ("HEAD", "x.jpg"), x, x, y]
    assert [ask(server, *one).status for one in asked] == [404, 200, 200, 503, 200, 404]
    assert called == [1, 1]
    assert server.requests == [Request(method, BUCKET, key) for method, key in asked]
    assert (server.count("GET"), server.count("GET", "x.jpg")) == (5, 3)


def drawn(faults: Faults, requests: list[Request]) -> dict[Request, int]:
    """Return which requests fail, each asked twice, at which of the two."""
    failed: Counter[Request] = Counter()
    for nth in (1, 2):
        for request in requests:
            plan = faults.plan(request)
            failed[request] += nth * any(plan.outcome(when) for when in WHEN)
    return +failed


def test_which_requests_fail_depends_on_the_seed_and_on_nothing_else() -> None:
    requests = [Request("GET", BUCKET, f"{number}.jpg") for number in range(2000)]
    faults = Faults(0.05, seed=3)
    failed = drawn(faults, requests)
    assert drawn(Faults(0.05, seed=3), requests[::-1]) == failed
    assert drawn(Faults(0.05, seed=4), requests) != failed
    assert drawn(Faults(), requests) == {}
    assert set(failed.values()) >= {1, 2}, "what failed once does not fail for ever"
    assert 150 < sum(faults.done.values()) < 250  # of 4000
    assert max(faults.done.values()) - min(faults.done[kind.name] for kind in Fault) <= 1, "each in turn"


def test_writes_fail_before_and_after_they_are_done() -> None:
    faults = Faults(1)
    plans = [faults.plan(Request("PUT", BUCKET, str(number))) for number in range(100)]
    failed = Counter((plan.outcome(when), when) for plan in plans for when in WHEN)
    never = {(fault, "before") for fault in (Fault.CUT, Fault.STALL)}  # such an answer has begun
    assert {one: times for one, times in failed.items() if one[0]} == {
        (fault, when): 10 for fault in Fault for when in WHEN if (fault, when) not in never
    }


def test_a_folder_is_served_and_comes_to_no_harm_and_each_answer_waits(tmp_path: Path) -> None:
    key, other = "%C3%A9%20b.jpg", "z.jpg"
    files = {tmp_path / name: name.encode() for name in ("é b.jpg", other)}
    for path, data in files.items():
        path.write_bytes(data)
    with running(folders={BUCKET: tmp_path}, latency_ms=80) as server:
        began = time.monotonic()
        assert ask(server, "GET", key) == Seen(200, "é b.jpg".encode())
        assert time.monotonic() - began >= 0.08
        assert (ask(server, "PUT", other).status, ask(server, "DELETE", key).status) == (200, 204)
        assert server.contents(BUCKET) == {other: b""}
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files
