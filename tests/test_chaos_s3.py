"""The small S3 server: it answers AWS's own clients as S3 does, and keeps what it is given."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

import pytest

from job import s3
from scripts.s3_connection import Server
from scripts.s3_server import main, running
from tests.chaos_s3 import BUCKET, chaos
from tests.test_s3 import KEYS, ODD_KEYS

PART: Final = 5 * 2**20


@pytest.fixture
def server(aws_environment: pytest.MonkeyPatch) -> Iterator[Server]:
    with chaos(aws_environment, silence=60) as started:
        yield started


def test_every_key_comes_back_as_it_is_and_in_the_order_of_utf_8(server: Server) -> None:
    keys = [*KEYS, *ODD_KEYS, "line\nbreak.jpg"]
    for key in keys:
        s3.client(BUCKET).put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    listed = [s3.split(name)[1] for name, _ in s3.list_sizes(f"s3://{BUCKET}")]
    assert listed == sorted(keys, key=str.encode)
    assert [s3.read(f"s3://{BUCKET}/{key}") for key in keys] == [key.encode() for key in keys]
    assert server.contents(BUCKET) == {key: key.encode() for key in keys}


def test_obstore_uploads_in_parts_and_reads_them(server: Server) -> None:
    data = os.urandom(2 * PART + 1000)
    s3.store(BUCKET, writing=True).put("large", data)
    assert s3.read(f"s3://{BUCKET}/large") == data
    assert (server.count("POST"), server.count("PUT")) == (2, 3)


def test_we_write_a_table_of_any_size_with_one_request(server: Server) -> None:
    data = os.urandom(2 * PART + 1000)
    for only_if_new in (True, False):
        assert s3.write(f"s3://{BUCKET}/large", data, only_if_new)
    assert server.contents(BUCKET) == {"large": data}
    assert (server.count("POST"), server.count("PUT")) == (0, 2)


def test_a_folder_is_served_and_comes_to_no_harm(aws_environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "Apple Red 1").mkdir(parents=True)
    for name in ("Apple Red 1/0 é+.jpg", "z.jpg"):
        (folder / name).write_bytes(name.encode())
    with running(folders={"photos": folder}) as server:
        aws_environment.setenv("AWS_ENDPOINT_URL", server.url)
        etags = {name: etag for name, _, etag, _ in s3.list_objects("s3://photos")}
        assert list(etags) == ["s3://photos/Apple Red 1/0 é+.jpg", "s3://photos/z.jpg"]
        assert s3.read("s3://photos/Apple Red 1/0 é+.jpg") == "Apple Red 1/0 é+.jpg".encode()
        assert (
            s3.client("photos").head_object(Bucket="photos", Key="z.jpg")["ETag"].strip('"') in etags.values()
        )
        s3.write("s3://photos/z.jpg", b"another", only_if_new=False)
        s3.delete_tree("s3://photos/Apple Red 1")
        assert server.contents("photos") == {"z.jpg": b"another"}
    assert (folder / "z.jpg").read_bytes() == b"z.jpg"
    assert (folder / "Apple Red 1/0 é+.jpg").exists()


@pytest.mark.parametrize("ends", [b"\r\n", b""])
def test_a_body_in_signed_chunks_is_put_together(server: Server, ends: bytes) -> None:
    body = b"5;chunk-signature=ab\r\nhello\r\n6;chunk-signature=cd\r\n world\r\n0;chunk-signature=ef\r\n"
    body += b"x-amz-checksum-crc32:AAAAAA==\r\n" + ends
    with HTTPConnectionTo(server) as connection:
        headers = {"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"}
        connection.request("PUT", f"/{BUCKET}/y", iter([b"in ", b"pieces"]), encode_chunked=True)
        connection.getresponse().read()
        # The connection goes on with the next request.
        connection.request("PUT", f"/{BUCKET}/x", body, headers)
        connection.getresponse().read()
    assert server.contents(BUCKET) == {"x": b"hello world", "y": b"in pieces"}


def test_a_client_that_waits_to_be_told_to_go_on_is_told(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(
            f"PUT /{BUCKET}/x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n".encode()
        )
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for piece in (b"a", b"b"):
            connection.sendall(piece)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.contents(BUCKET) == {"x": b"ab"}


class HTTPConnectionTo:
    """A plain connection to a server."""

    def __init__(self, server: Server) -> None:
        self.connection = HTTPConnection(server.url.removeprefix("http://"), timeout=60)

    def __enter__(self) -> HTTPConnection:
        return self.connection

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def test_what_it_does_not_know_it_says(server: Server) -> None:
    with HTTPConnectionTo(server) as connection:
        for method, target in (
            ("GET", f"/{BUCKET}?acl"),
            ("PATCH", f"/{BUCKET}/x"),
            ("POST", f"/{BUCKET}/x?select"),
        ):
            connection.request(method, target)
            answer = connection.getresponse()
            assert (answer.status, b"NotImplemented" in answer.read()) == (501, True)


def test_it_waits_before_each_answer(aws_environment: pytest.MonkeyPatch) -> None:
    with running(buckets=(BUCKET,), latency_ms=80) as server, HTTPConnectionTo(server) as connection:
        assert aws_environment
        began = time.monotonic()
        for _ in range(2):
            connection.request("HEAD", f"/{BUCKET}")
            connection.getresponse().read()
        assert time.monotonic() - began >= 0.16


def test_a_process_serves_the_folders_of_its_root_and_says_what_was_asked(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a b.jpg").write_bytes(b"photo")
    command = [sys.executable, "-m", "scripts.s3_server", "--root", str(tmp_path), "--bucket", "results"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        url = process.stdout.readline().strip()
        assert fetched(f"{url}/photos/a%20b.jpg") == b"photo"
        fetched(Request(f"{url}/results/x", b"x", method="PUT"))
        asked = [["GET", "photos", "a b.jpg"], ["PUT", "results", "x"]]
        assert json.loads(fetched(f"{url}/_requests")) == asked
        assert json.loads(fetched(f"{url}/_faults")) == {}
        fetched(Request(f"{url}/_forget", b"", method="POST"))
        assert json.loads(fetched(f"{url}/_requests")) == []
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not (tmp_path / "results").exists()


def fetched(what: str | Request) -> bytes:
    with urlopen(what, timeout=60) as answer:
        read: bytes = answer.read()
        return read


@pytest.mark.parametrize("wrong", [["x", "before"], ["1", "during"]])
def test_a_request_to_kill_at_that_makes_no_sense_is_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--kill", "PUT", "*", *wrong, "pid"])
    assert "NTH is a number" in capsys.readouterr().err
