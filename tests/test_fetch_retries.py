"""Faults of S3 that pass: one object is asked for again, and what was asked is done once."""

import errno
import os
from collections.abc import Iterator

import pytest

from job import aws, s3, store
from job.retry import TransientError
from scripts.s3_api import Answer, error
from scripts.s3_connection import Server
from scripts.s3_faults import Fault, When
from tests.chaos_s3 import BUCKET, Waits, chaos

PHOTO = bytes(range(256)) * 40
AT = f"s3://{BUCKET}"


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def server(
    aws_environment: pytest.MonkeyPatch, waits: Waits, request: pytest.FixtureRequest
) -> Iterator[Server]:
    callspec = getattr(request.node, "callspec", None)
    waited_for = callspec is not None and callspec.params.get("fault") in (Fault.SILENT, Fault.STALL)
    with chaos(aws_environment, silence=1 if waited_for else 60, patience=waits.patience()) as running:
        yield running


# The second is read by boto3.
@pytest.mark.parametrize("key", ["photo.jpg", "odd//photo.jpg"])
@pytest.mark.parametrize("fault", Fault)
def test_a_read_survives_each_fault_at_the_cost_of_one_request(
    server: Server, waits: Waits, fault: Fault, key: str
) -> None:
    server.put(BUCKET, key, PHOTO)
    server.on("GET", key, 1, "before", fault)
    assert store.read_bytes(f"{AT}/{key}") == PHOTO
    assert server.count("GET") == 2
    assert len(waits.waited) == 1
    assert server.faults.done == {fault.name: 1}


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.CUT, Fault.STALL])
def test_a_part_of_an_object_survives_each_fault(server: Server, fault: Fault) -> None:
    server.put(BUCKET, "part.parquet", PHOTO)
    server.on("GET", "*", 1, "before", fault)
    assert s3.read_range(f"{AT}/part.parquet", 1000, 3000) == PHOTO[1000:4000]
    assert server.count("GET") == 2


def test_a_large_body_that_is_cut_again_and_again_is_read_whole(server: Server) -> None:
    data = os.urandom(3_000_000)
    server.put(BUCKET, "large.jpg", data)
    for nth in (1, 2, 3):
        server.on("GET", "*", nth, "after", Fault.CUT)
    assert s3.read(f"{AT}/large.jpg") == data
    assert server.count("GET") == 4


@pytest.mark.parametrize("key", ["photo.jpg", "odd//photo.jpg"])
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchKey", FileNotFoundError),
        (403, "AccessDenied", PermissionError),
        (403, "InvalidAccessKeyId", OSError),
        (400, "ExpiredToken", OSError),
        (404, "NoSuchBucket", OSError),
        (501, "NotImplemented", OSError),
    ],
)
def test_what_does_not_pass_costs_one_request(
    server: Server, waits: Waits, status: int, code: str, kind: type[OSError], key: str
) -> None:
    server.on("GET", "*", None, "before", error(status, code))
    with pytest.raises(kind) as caught:
        s3.read(f"{AT}/{key}")
    assert type(caught.value) is kind
    assert server.count("GET") == 1
    assert waits.waited == []


@pytest.mark.parametrize(("status", "code"), [(429, "TooManyRequests"), (400, "RequestTimeout"), (502, "x")])
def test_other_answers_that_pass_are_asked_for_again(server: Server, status: int, code: str) -> None:
    server.put(BUCKET, "photo.jpg", PHOTO)
    server.on("GET", "*", 1, "before", error(status, code))
    assert s3.read(f"{AT}/photo.jpg") == PHOTO


@pytest.mark.parametrize("key", ["photo.jpg", "odd//photo.jpg"])
def test_after_its_patience_a_read_says_what_failed(server: Server, waits: Waits, key: str) -> None:
    server.on("GET", "*", None, "before", Fault.SLOW_DOWN)
    with pytest.raises(TransientError, match="SlowDown, status 503") as caught:
        s3.read(f"{AT}/{key}")
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == f"{AT}/{key}"
    assert 45 < sum(waits.waited) <= 60
    assert server.count("GET") == len(waits.waited) + 1


def test_a_write_is_given_more_time_than_a_read(
    aws_environment: pytest.MonkeyPatch, server: Server, waits: Waits
) -> None:
    server.latency = 0.8
    aws_environment.setattr(aws, "READ_SECONDS", 0.2)
    assert s3.write(f"{AT}/photo.jpg", PHOTO, only_if_new=False)
    assert server.count("PUT") == 1
    with pytest.raises(TransientError):
        s3.read(f"{AT}/photo.jpg", waits.patience(0))


def test_a_read_can_have_less_patience(server: Server, waits: Waits) -> None:
    server.on("GET", "*", None, "before", Fault.RESET)
    with pytest.raises(TransientError):
        s3.read(f"{AT}/photo.jpg", waits.patience(1))
    assert sum(waits.waited) <= 1


WRITTEN: list[tuple[Fault, When]] = [
    (fault, when)
    for fault in Fault
    for when in ("before", "after")
    if when == "after" or fault not in (Fault.CUT, Fault.STALL)
]


@pytest.mark.parametrize("only_if_new", [False, True])
@pytest.mark.parametrize(("fault", "when"), WRITTEN)
def test_a_write_survives_each_fault_whether_it_was_done_or_not(
    server: Server, fault: Fault, when: When, only_if_new: bool
) -> None:
    server.on("PUT", "*", 1, when, fault)
    assert store.write_bytes(f"{AT}/part.parquet", PHOTO, only_if_new)
    assert server.contents(BUCKET) == {"part.parquet": PHOTO}
    assert server.count("PUT") == 2
    # That an object is ours is looked up only where it may be another's.
    assert server.count("GET") == (only_if_new and when == "after")


def test_what_was_there_before_is_another_s_whatever_happens_on_the_way(server: Server) -> None:
    server.put(BUCKET, "claim", b"another's")
    server.on("PUT", "*", 1, "before", Fault.RESET)
    assert not s3.write(f"{AT}/claim", b"ours", only_if_new=True)
    assert server.contents(BUCKET) == {"claim": b"another's"}


def test_the_same_bytes_that_were_there_at_the_first_try_are_another_s(server: Server) -> None:
    server.put(BUCKET, "claim", b"the same")
    assert not s3.write(f"{AT}/claim", b"the same", only_if_new=True)
    assert (server.count("PUT"), server.count("GET")) == (1, 0)


def test_a_conflict_of_two_writers_is_no_answer(server: Server) -> None:
    server.on("PUT", "*", 1, "before", error(409, "ConditionalRequestConflict"))
    assert s3.write(f"{AT}/claim", b"ours", only_if_new=True)
    assert server.contents(BUCKET) == {"claim": b"ours"}


def test_a_write_that_may_not_be_done_costs_one_request(server: Server, waits: Waits) -> None:
    server.on("PUT", "*", None, "before", error(403, "AccessDenied"))
    for only_if_new in (False, True):
        with pytest.raises(PermissionError):
            s3.write(f"{AT}/x", b"x", only_if_new)
    assert server.count("PUT") == 2
    assert waits.waited == []


@pytest.mark.parametrize("fault", Fault)
def test_listing_and_deleting_survive_each_fault(server: Server, fault: Fault) -> None:
    for number in range(5):
        server.put(BUCKET, f"t/{number}", b"x")
    server.on("GET", "", 1, "after", fault)
    server.on("POST", "", 1, "after", fault)
    server.on("HEAD", "", 1, "after", fault)
    store.delete_tree(f"{AT}/t")
    assert server.contents(BUCKET) == {}
    assert [server.count(method) for method in ("HEAD", "GET", "POST")] == [2, 2, 2]


def test_one_of_many_that_could_not_be_deleted_yet_is_deleted_later(server: Server) -> None:
    server.put(BUCKET, "t/x", b"x")
    body = b"<DeleteResult><Error><Key>t/x</Key><Code>InternalError</Code></Error></DeleteResult>"
    server.on("POST", "", 1, "before", Answer(200, {}, body))
    store.delete_tree(f"{AT}/t")
    assert server.contents(BUCKET) == {}
    assert server.count("POST") == 2
