"""The small S3 server's faults: what a client sees of each, how often they come, and kills at a request."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from http.client import BadStatusLine, HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Final

import pytest

from scripts.s3_api import Answer
from scripts.s3_connection import Server
from scripts.s3_faults import Fault, Faults, Request, When, kill, pid_in
from scripts.s3_server import running

BUCKET: Final = "photos"
PHOTO: Final = b"photo" * 1000


@pytest.fixture
def server() -> Iterator[Server]:
    with running(buckets=(BUCKET,)) as started:
        started.put(BUCKET, "x.jpg", PHOTO)
        yield started


def ask(
    server: Server, method: str, key: str, body: bytes | None = None, timeout: float = 60
) -> tuple[int, bytes]:
    """Ask once, on a connection of its own."""
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=timeout)
    try:
        connection.request(method, f"/{BUCKET}/{key}", body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [(Fault.SLOW_DOWN, 503, b"<Code>SlowDown<"), (Fault.INTERNAL_ERROR, 500, b"<Code>InternalError<")],
)
def test_an_error_is_worded_as_s3_does(server: Server, fault: Fault, status: int, code: bytes) -> None:
    server.on("GET", "*", 1, "before", fault)
    given, body = ask(server, "GET", "x.jpg")
    assert given == status
    assert code in body


def test_a_connection_is_reset_before_any_byte(server: Server) -> None:
    server.on("GET", "*", 1, "before", Fault.RESET)
    with pytest.raises(ConnectionResetError) as caught:
        ask(server, "GET", "x.jpg")
    assert type(caught.value) is ConnectionResetError, "not an end of the connection, which is a subclass"


def test_a_body_is_cut_after_half_of_the_length_that_was_declared(server: Server) -> None:
    server.on("GET", "*", 1, "before", Fault.CUT)
    with pytest.raises(IncompleteRead) as caught:
        ask(server, "GET", "x.jpg")
    assert caught.value.partial == PHOTO[: len(PHOTO) // 2]
    assert caught.value.expected == len(PHOTO) - len(PHOTO) // 2


def test_an_answer_without_a_body_is_cut_in_its_first_line(server: Server) -> None:
    server.on("HEAD", "*", 1, "after", Fault.CUT)
    with pytest.raises(BadStatusLine):
        ask(server, "HEAD", "x.jpg")


def test_a_stalled_body_has_its_first_half(server: Server) -> None:
    server.on("GET", "*", 1, "before", Fault.STALL)
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=0.3)
    connection.request("GET", f"/{BUCKET}/x.jpg")
    answer = connection.getresponse()
    assert answer.read(len(PHOTO) // 2) == PHOTO[: len(PHOTO) // 2]
    with pytest.raises(TimeoutError):
        answer.read(1)
    connection.close()


def test_silence_is_no_answer_at_all(server: Server) -> None:
    server.on("GET", "*", 1, "before", Fault.SILENT)
    with pytest.raises(TimeoutError):
        ask(server, "GET", "x.jpg", timeout=0.3)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("action", [Fault.SLOW_DOWN, Fault.RESET, Answer(418)])
def test_a_write_that_fails_is_done_or_not(server: Server, when: When, action: Fault | Answer) -> None:
    server.on("PUT", "*", 1, when, action)
    if action is Fault.RESET:
        with pytest.raises(ConnectionResetError):
            ask(server, "PUT", "new", b"new")
    else:
        assert ask(server, "PUT", "new", b"new")[0] in (418, 503)
    assert ("new" in server.contents(BUCKET)) == (when == "after")


def test_only_the_request_that_is_named_fails(server: Server) -> None:
    server.on("GET", "x*", 2, "before", Fault.SLOW_DOWN)
    asked = [("GET", "y"), ("GET", "x.jpg"), ("HEAD", "x.jpg"), ("GET", "x.jpg"), ("GET", "x.jpg")]
    assert [ask(server, method, key)[0] for method, key in asked] == [404, 200, 200, 503, 200]
    assert server.requests == [Request(method, BUCKET, key) for method, key in asked]
    assert server.count("GET") == 4
    assert server.count("GET", "x.jpg") == 3


def test_an_action_is_called_and_its_request_goes_on_unless_it_says_otherwise(server: Server) -> None:
    called: list[int] = []
    server.on("GET", "*", None, "after", lambda: called.append(1))
    assert [ask(server, "GET", "x.jpg")[0] for _ in range(3)] == [200] * 3
    assert called == [1, 1, 1]


def drawn(faults: Faults, requests: list[Request]) -> dict[Request, int]:
    """Return which requests fail, each asked twice, at which of the two."""
    failed: dict[Request, int] = {}
    for nth in (1, 2):
        for request in requests:
            plan = faults.plan(request)
            if plan.outcome("before") or plan.outcome("after"):
                failed[request] = failed.get(request, 0) + nth
    return failed


def test_which_requests_fail_depends_on_the_seed_and_on_nothing_else() -> None:
    requests = [Request("GET", BUCKET, f"{number}.jpg") for number in range(2000)]
    faults = Faults(0.05, seed=3)
    failed = drawn(faults, requests)
    assert drawn(Faults(0.05, seed=3), requests[::-1]) == failed
    assert drawn(Faults(0.05, seed=4), requests) != failed
    assert set(failed.values()) >= {1, 2}, "what failed once does not fail for ever"
    total = sum(faults.done.values())
    assert 150 < total < 250  # of 4000
    # Each kind in turn.
    assert {kind: total // 6 <= faults.done[kind.name] <= total // 6 + 1 for kind in Fault} == dict.fromkeys(
        Fault, True
    )


def test_writes_fail_before_and_after_they_are_done() -> None:
    faults = Faults(1)
    seen: Counter[tuple[str, str]] = Counter()
    for number in range(100):
        plan = faults.plan(Request("PUT", BUCKET, str(number)))
        for when in ("before", "after"):
            outcome = plan.outcome("before" if when == "before" else "after")
            if isinstance(outcome, Fault):
                seen[outcome.name, when] += 1
    assert seen == {
        (fault.name, when): 10
        for fault in Fault
        for when in ("before", "after")
        if when == "after" or fault not in (Fault.CUT, Fault.STALL)
    }


def test_some_kinds_can_be_left_out() -> None:
    faults = Faults(1, kinds=[Fault.RESET])
    for key in "abc":
        faults.plan(Request("GET", BUCKET, key)).outcome("after")
    assert faults.done == {"RESET": 3}


def test_without_a_probability_nothing_fails() -> None:
    assert drawn(Faults(), [Request("GET", BUCKET, "x")]) == {}


WRITER: Final = """
import http.client, os, sys
open(sys.argv[2], "w").write(str(os.getpid()))
for number in range(5):
    connection = http.client.HTTPConnection(sys.argv[1])
    connection.request("PUT", f"/photos/part-{number}", b"x")
    connection.getresponse().read()
"""


@pytest.mark.parametrize(("when", "written"), [("before", 2), ("after", 3)])
def test_a_process_is_killed_exactly_at_the_request_that_is_named(
    server: Server, tmp_path: Path, when: When, written: int
) -> None:
    pid = tmp_path / "pid"
    server.on("PUT", "part-*", 3, when, kill(pid_in(pid)))
    ended = subprocess.run(
        [sys.executable, "-c", WRITER, server.url.removeprefix("http://"), str(pid)], timeout=60, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert sorted(server.contents(BUCKET)) == [f"part-{number}" for number in range(written)] + ["x.jpg"]
    assert server.count("PUT") == 3
