"""The part of HTTP that the small S3 server needs: requests from received bytes, and answers as bytes.

A request's body has a length: neither boto3 nor obstore sends chunks over plain HTTP.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, unquote_plus

from scripts.s3_server.api import Answer, HttpRequest

REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
END: Final = b"\r\n\r\n"


def headers_in(received: bytearray) -> dict[str, str] | None:
    """Return the received headers, with names in lower case; None if they are not complete."""
    end = received.find(END)
    if end < 0:
        return None
    pairs = (line.partition(":") for line in received[:end].decode("latin-1").split("\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in pairs}


def take_request(received: bytearray, headers: Mapping[str, str]) -> HttpRequest | None:
    """Remove a complete request from the received bytes and return it; None if incomplete."""
    start = received.find(END) + len(END)
    end = start + int(headers.get("content-length", 0))
    if len(received) < end:
        return None
    body = bytes(received[start:end])
    method, target, _ = received[: received.find(b"\r\n")].decode("latin-1").split(" ")
    del received[:end]
    path, _, query = target.partition("?")
    bucket, _, key = path[1:].partition("/")
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    parameters = {unquote_plus(name): unquote_plus(value) for name, _, value in pairs}
    return HttpRequest(method, unquote(bucket), unquote(key), parameters, headers, body)


def render(answer: Answer, method: str) -> tuple[bytes, bytes]:
    """Return the head and the body of an answer as bytes; the answer to HEAD has no body."""
    headers = {"Content-Length": len(answer.body), "Server": "s3_server", **answer.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {answer.status} {REASONS[answer.status]}\r\n{lines}\r\n".encode("latin-1")
    return head, b"" if method == "HEAD" else answer.body
