"""S3's requests as the small S3 server understands them: what is asked of its buckets, and the answers.

It knows what this job and, as a reader, Hadoop's S3A ask for, and answers 501 to everything else.
Signatures and checksums are not looked at. All names are those of S3's API reference.
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
MOST_LISTED: Final = 1000
# Other things than the object itself that S3 answers under its name.
UNKNOWN: Final = {
    *("acl", "attributes", "legal-hold", "partNumber", "retention", "select", "tagging", "torrent"),
    *("uploadId", "uploads"),
}
KEY: Final = re.compile(r"<Key>(.*?)</Key>", re.DOTALL)
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
    """A status, headers and a body; the length is that of the body unless it is among the headers."""

    status: int = 200
    headers: Mapping[str, Any] = {}
    body: bytes = b""


def answer(buckets: Buckets, asked: HttpRequest) -> Answer:
    """Do what is asked."""
    bucket = buckets.get(asked.bucket)
    if bucket is None:
        return error(404, "NoSuchBucket")
    if UNKNOWN & asked.query.keys():
        return error(501, "NotImplemented")
    of_object = {"GET": _get, "HEAD": _get, "PUT": _put, "DELETE": _delete}
    return (of_object.get(asked.method, _unknown) if asked.key else _of_bucket)(bucket, asked)


def error(status: int, code: str) -> Answer:
    """Answer with an error."""
    return _xml("Error", f"<Code>{code}</Code><Message>{code}</Message><RequestId>0</RequestId>", status)


def _xml(name: str, inner: str, status: int = 200) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}>{inner}</{name}>'
    return Answer(status, {"Content-Type": "application/xml"}, body.encode())


def _of_bucket(bucket: Bucket, asked: HttpRequest) -> Answer:
    if asked.method == "HEAD":
        return Answer(200, {"x-amz-bucket-region": REGION})
    if asked.method == "GET" and asked.query.get("list-type") == "2":
        return _list(bucket, asked.query)
    if asked.method == "POST" and "delete" in asked.query:
        keys = [html.unescape(key) for key in KEY.findall(asked.body.decode())]
        for key in keys:
            bucket.delete(key)
        quiet = b"<Quiet>true</Quiet>" in asked.body
        done = "" if quiet else "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return _xml("DeleteResult", done)
    return error(501, "NotImplemented")


def _list(bucket: Bucket, query: Mapping[str, str]) -> Answer:
    token = query.get("continuation-token")
    after = base64.urlsafe_b64decode(token).decode() if token else query.get("start-after", "")
    most = min(int(query.get("max-keys", MOST_LISTED)), MOST_LISTED)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    page = bucket.page(prefix, delimiter, after, most)
    url = query.get("encoding-type") == "url"

    def shown(key: str) -> str:
        return quote(key) if url else escape(key)

    contents = (
        f"<Contents><Key>{shown(key)}</Key><LastModified>{_iso(bucket.objects[key].modified)}</LastModified>"
        f'<ETag>"{bucket.etag(key)}"</ETag><Size>{bucket.objects[key].size}</Size>'
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for key in page.keys
    )
    folders = (f"<CommonPrefixes><Prefix>{shown(one)}</Prefix></CommonPrefixes>" for one in page.prefixes)
    more = ""
    if page.after is not None:
        following = base64.urlsafe_b64encode(page.after.encode()).decode()
        more = f"<NextContinuationToken>{following}</NextContinuationToken>"
    return _xml(
        "ListBucketResult",
        f"<Prefix>{shown(prefix)}</Prefix><Delimiter>{shown(delimiter)}</Delimiter><MaxKeys>{most}</MaxKeys>"
        f"<KeyCount>{len(page.keys) + len(page.prefixes)}</KeyCount>"
        f"{'<EncodingType>url</EncodingType>' if url else ''}"
        f"<IsTruncated>{str(page.after is not None).lower()}</IsTruncated>{more}"
        f"{''.join(contents)}{''.join(folders)}",
    )


def _get(bucket: Bucket, asked: HttpRequest) -> Answer:
    stored = bucket.objects.get(asked.key)
    if stored is None:
        return error(404, "NoSuchKey")
    data = stored.read() if asked.method == "GET" else b""
    if stored.etag is None and data:
        stored = bucket.objects[asked.key] = stored._replace(etag=md5(data))
    etag = bucket.etag(asked.key)
    headers: dict[str, Any] = {
        "Content-Type": "binary/octet-stream",
        "ETag": f'"{etag}"',
        "Last-Modified": formatdate(stored.modified, usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Length": stored.size,
    }
    if asked.headers.get("if-match", etag).strip('"') not in (etag, "*"):
        return error(412, "PreconditionFailed")
    wanted = RANGE.match(asked.headers.get("range", ""))
    if not wanted:
        return Answer(200, headers, data)
    first, end = int(wanted[1]), min(stored.size, int(wanted[2]) + 1 if wanted[2] else stored.size)
    if first >= end:
        return error(416, "InvalidRange")
    headers |= {"Content-Range": f"bytes {first}-{end - 1}/{stored.size}", "Content-Length": end - first}
    return Answer(206, headers, data[first:end])


def _put(bucket: Bucket, asked: HttpRequest) -> Answer:
    if {"if-match", "x-amz-copy-source"} & asked.headers.keys():
        return error(501, "NotImplemented")
    if asked.headers.get("if-none-match") == "*" and asked.key in bucket.objects:
        return error(412, "PreconditionFailed")
    return Answer(200, {"ETag": f'"{bucket.put(asked.key, asked.body)}"'})


def _delete(bucket: Bucket, asked: HttpRequest) -> Answer:
    bucket.delete(asked.key)
    return Answer(204)


def _unknown(_: Bucket, __: HttpRequest) -> Answer:
    return error(501, "NotImplemented")


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
