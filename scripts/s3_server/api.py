"""The part of S3's API that the small S3 server knows: requests to its buckets, and their answers.

It knows the requests of this job and the reads of Hadoop's S3A, and answers 501 to everything else. It
ignores signatures and checksums. The names of errors and headers are those of S3's API reference.
"""

import base64
import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import escape

from scripts.s3_server.buckets import Bucket, Buckets, md5

REGION: Final = "eu-west-1"
MAX_KEYS: Final = 1000
# Parameters with which S3 answers about an object, instead of with its bytes.
UNKNOWN_PARAMETERS: Final = {
    *("acl", "attributes", "legal-hold", "partNumber", "retention", "select", "tagging", "torrent"),
    *("uploadId", "uploads"),
}
KEY_ELEMENT: Final = re.compile(r"<Key>(.*?)</Key>", re.DOTALL)
RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)\Z")


class HttpRequest(NamedTuple):
    """A request; the names of headers are in lower case."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Answer(NamedTuple):
    """A status, headers and a body; ``Content-Length`` is the body's length unless the headers hold it."""

    status: int = 200
    headers: Mapping[str, Any] = {}
    body: bytes = b""


def respond(buckets: Buckets, request: HttpRequest) -> Answer:
    """Do what a request asks for, and return the answer."""
    bucket = buckets.get(request.bucket)
    if bucket is None:
        return error(404, "NoSuchBucket")
    if UNKNOWN_PARAMETERS & request.query.keys():
        return error(501, "NotImplemented")
    if not request.key:
        return _respond_for_bucket(bucket, request)
    responses = {"GET": _get, "HEAD": _get, "PUT": _put, "DELETE": _delete}
    return responses.get(request.method, _refuse)(bucket, request)


def error(status: int, code: str) -> Answer:
    """Return an error in S3's form."""
    return _xml("Error", f"<Code>{code}</Code><Message>{code}</Message><RequestId>0</RequestId>", status)


def _xml(name: str, inner: str, status: int = 200) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}>{inner}</{name}>'
    return Answer(status, {"Content-Type": "application/xml"}, body.encode())


def _respond_for_bucket(bucket: Bucket, request: HttpRequest) -> Answer:
    if request.method == "HEAD":
        return Answer(200, {"x-amz-bucket-region": REGION})
    if request.method == "GET" and request.query.get("list-type") == "2":
        return _list(bucket, request.query)
    if request.method == "POST" and "delete" in request.query:
        keys = [html.unescape(key) for key in KEY_ELEMENT.findall(request.body.decode())]
        for key in keys:
            bucket.delete(key)
        quiet = b"<Quiet>true</Quiet>" in request.body
        deleted = "" if quiet else "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return _xml("DeleteResult", deleted)
    return error(501, "NotImplemented")


def _list(bucket: Bucket, query: Mapping[str, str]) -> Answer:
    token = query.get("continuation-token")
    after = base64.urlsafe_b64decode(token).decode() if token else query.get("start-after", "")
    max_keys = min(int(query.get("max-keys", MAX_KEYS)), MAX_KEYS)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    page = bucket.page(prefix, delimiter, after, max_keys)
    is_url = query.get("encoding-type") == "url"

    def encoded(key: str) -> str:
        return quote(key) if is_url else escape(key)

    contents = (
        f"<Contents><Key>{encoded(key)}</Key><LastModified>{_iso(bucket.objects[key].modified)}</LastModified>"
        f'<ETag>"{bucket.etag(key)}"</ETag><Size>{bucket.objects[key].size}</Size>'
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for key in page.keys
    )
    folders = (
        f"<CommonPrefixes><Prefix>{encoded(folder)}</Prefix></CommonPrefixes>" for folder in page.prefixes
    )
    next_token = ""
    if page.after is not None:
        token = base64.urlsafe_b64encode(page.after.encode()).decode()
        next_token = f"<NextContinuationToken>{token}</NextContinuationToken>"
    return _xml(
        "ListBucketResult",
        f"<Prefix>{encoded(prefix)}</Prefix><Delimiter>{encoded(delimiter)}</Delimiter><MaxKeys>{max_keys}</MaxKeys>"
        f"<KeyCount>{len(page.keys) + len(page.prefixes)}</KeyCount>"
        f"{'<EncodingType>url</EncodingType>' if is_url else ''}"
        f"<IsTruncated>{str(page.after is not None).lower()}</IsTruncated>{next_token}"
        f"{''.join(contents)}{''.join(folders)}",
    )


def _get(bucket: Bucket, request: HttpRequest) -> Answer:
    stored = bucket.objects.get(request.key)
    if stored is None:
        return error(404, "NoSuchKey")
    data = stored.read() if request.method == "GET" else b""
    if stored.etag is None and data:
        stored = bucket.objects[request.key] = stored._replace(etag=md5(data))
    etag = bucket.etag(request.key)
    headers: dict[str, Any] = {
        "Content-Type": "binary/octet-stream",
        "ETag": f'"{etag}"',
        "Last-Modified": formatdate(stored.modified, usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Length": stored.size,
    }
    if request.headers.get("if-match", etag).strip('"') not in (etag, "*"):
        return error(412, "PreconditionFailed")
    byte_range = RANGE.match(request.headers.get("range", ""))
    if not byte_range:
        return Answer(200, headers, data)
    first, end = (
        int(byte_range[1]),
        min(stored.size, int(byte_range[2]) + 1 if byte_range[2] else stored.size),
    )
    if first >= end:
        return error(416, "InvalidRange")
    headers |= {"Content-Range": f"bytes {first}-{end - 1}/{stored.size}", "Content-Length": end - first}
    return Answer(206, headers, data[first:end])


def _put(bucket: Bucket, request: HttpRequest) -> Answer:
    if {"if-match", "x-amz-copy-source"} & request.headers.keys():
        return error(501, "NotImplemented")
    if request.headers.get("if-none-match") == "*" and request.key in bucket.objects:
        return error(412, "PreconditionFailed")
    return Answer(200, {"ETag": f'"{bucket.put(request.key, request.body)}"'})


def _delete(bucket: Bucket, request: HttpRequest) -> Answer:
    bucket.delete(request.key)
    return Answer(204)


def _refuse(_: Bucket, __: HttpRequest) -> Answer:
    return error(501, "NotImplemented")


def _iso(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
