"""S3's requests as the small S3 server understands them: what is asked of its buckets, and the answers.

It knows what this job, boto3, obstore and Hadoop's S3A ask for, and answers 501 to everything else.
Signatures and checksums are not looked at. All names are those of S3's API reference.
"""

import base64
import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from scripts.s3_buckets import Bucket, Buckets, md5

REGION: Final = "eu-west-1"
MOST_LISTED: Final = 1000
# Other things than the object itself that S3 answers under its name.
UNKNOWN: Final = frozenset({"acl", "attributes", "legal-hold", "retention", "select", "tagging", "torrent"})
KEY: Final = re.compile(r"<Key>(.*?)</Key>", re.DOTALL)
PART: Final = re.compile(r"<PartNumber>(\d+)</PartNumber>")
RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)\Z")


class Asked(NamedTuple):
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


def answer(buckets: Buckets, asked: Asked) -> Answer:
    """Do what is asked."""
    bucket = buckets.get(asked.bucket)
    if bucket is None:
        if asked.method == "PUT" and not asked.key:
            buckets[asked.bucket] = Bucket()
            return Answer()
        return error(404, "NoSuchBucket")
    of_object = {"GET": _get, "HEAD": _get, "PUT": _put, "POST": _upload, "DELETE": _delete}
    do = of_object.get(asked.method, _unknown) if asked.key else _of_bucket
    return (_unknown if UNKNOWN & asked.query.keys() else do)(buckets, bucket, asked)


def error(status: int, code: str) -> Answer:
    """Answer with an error."""
    return _xml("Error", f"<Code>{code}</Code><Message>{code}</Message><RequestId>0</RequestId>", status)


def _xml(name: str, inner: str, status: int = 200) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}>{inner}</{name}>'
    return Answer(status, {"Content-Type": "application/xml"}, body.encode())


def _of_bucket(_: Buckets, bucket: Bucket, asked: Asked) -> Answer:
    if asked.method == "HEAD":
        return Answer(200, {"x-amz-bucket-region": REGION})
    if asked.method == "GET" and asked.query.get("list-type") == "2":
        return _list(bucket, asked.query)
    if asked.method == "GET" and "location" in asked.query:
        return _xml("LocationConstraint", REGION)
    if asked.method == "GET" and "uploads" in asked.query:
        begun = sorted(
            (upload.key, name)
            for name, upload in bucket.uploads.items()
            if upload.key.startswith(asked.query.get("prefix", ""))
        )
        inner = "".join(
            f"<Upload><Key>{escape(key)}</Key><UploadId>{name}</UploadId>"
            f"<Initiated>{_iso(0)}</Initiated></Upload>"
            for key, name in begun
        )
        return _xml("ListMultipartUploadsResult", f"<IsTruncated>false</IsTruncated>{inner}")
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


def _get(_: Buckets, bucket: Bucket, asked: Asked) -> Answer:
    stored = bucket.objects.get(asked.key)
    if stored is None:
        return error(404, "NoSuchKey")
    data = stored.read() if asked.method == "GET" else b""
    if stored.etag is None and data:
        stored = bucket.objects[asked.key] = stored._replace(etag=md5(data))
    etag = bucket.etag(asked.key)
    headers: dict[str, Any] = {
        "Content-Type": "binary/octet-stream",
        **stored.headers,
        "ETag": f'"{etag}"',
        "Last-Modified": formatdate(stored.modified, usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Length": stored.size,
    }
    if asked.headers.get("if-match", etag).strip('"') not in (etag, "*"):
        return error(412, "PreconditionFailed")
    if asked.headers.get("if-none-match", "").strip('"') in (etag, "*"):
        return Answer(304, {"ETag": f'"{etag}"'})
    wanted = RANGE.match(asked.headers.get("range", ""))
    if not wanted or not any(wanted.groups()):
        return Answer(200, headers, data)
    if not wanted[1]:
        first, end = max(0, stored.size - int(wanted[2])), stored.size
    else:
        first, end = int(wanted[1]), min(stored.size, int(wanted[2]) + 1 if wanted[2] else stored.size)
    if first >= end:
        return error(416, "InvalidRange")
    headers |= {"Content-Range": f"bytes {first}-{end - 1}/{stored.size}", "Content-Length": end - first}
    return Answer(206, headers, data[first:end])


def _put(buckets: Buckets, bucket: Bucket, asked: Asked) -> Answer:
    data, headers = asked.body, _kept(asked)
    source = asked.headers.get("x-amz-copy-source")
    if source:
        name, _, key = unquote(source).removeprefix("/").partition("/")
        copied = buckets[name].objects.get(key) if name in buckets else None
        if copied is None:
            return error(404, "NoSuchKey")
        data = copied.read()
        if wanted := RANGE.match(asked.headers.get("x-amz-copy-source-range", "")):
            data = data[int(wanted[1]) : int(wanted[2]) + 1]
        if asked.headers.get("x-amz-metadata-directive") != "REPLACE":
            headers = dict(copied.headers)
    if "partNumber" in asked.query:
        upload = bucket.uploads.get(asked.query.get("uploadId", ""))
        if upload is None:
            return error(404, "NoSuchUpload")
        upload.parts[int(asked.query["partNumber"])] = data
        etag, name = md5(data), "CopyPartResult"
    else:
        if refused := _refused(bucket, asked):
            return refused
        etag, name = bucket.put(asked.key, data, headers), "CopyObjectResult"
    if source:
        return _xml(name, f'<ETag>"{etag}"</ETag><LastModified>{_iso(0)}</LastModified>')
    return Answer(200, {"ETag": f'"{etag}"'})


def _upload(_: Buckets, bucket: Bucket, asked: Asked) -> Answer:
    named = f"<Key>{escape(asked.key)}</Key>"
    if "uploads" in asked.query:
        upload = bucket.begin(asked.key, _kept(asked))
        return _xml("InitiateMultipartUploadResult", f"{named}<UploadId>{upload}</UploadId>")
    upload = asked.query.get("uploadId", "")
    # Asked again, as after an answer that got lost, S3 gives the same one.
    etag = bucket.completed.get(upload)
    if etag is None:
        if upload not in bucket.uploads:
            return error(404, "NoSuchUpload")
        if refused := _refused(bucket, asked):
            return refused
        numbers = [int(number) for number in PART.findall(asked.body.decode())]
        if not numbers or not set(numbers) <= set(bucket.uploads[upload].parts):
            return error(400, "InvalidPart")
        etag = bucket.complete(upload, numbers)
    return _xml("CompleteMultipartUploadResult", f'{named}<ETag>"{etag}"</ETag>')


def _delete(_: Buckets, bucket: Bucket, asked: Asked) -> Answer:
    if "uploadId" not in asked.query:
        if refused := _refused(bucket, asked):
            return refused
        bucket.delete(asked.key)
    elif bucket.uploads.pop(asked.query["uploadId"], None) is None:
        return error(404, "NoSuchUpload")
    return Answer(204)


def _unknown(_: Buckets, __: Bucket, ___: Asked) -> Answer:
    return error(501, "NotImplemented")


def _refused(bucket: Bucket, asked: Asked) -> Answer | None:
    """Return why a write that has a condition is not done."""
    there = asked.key in bucket.objects
    if asked.headers.get("if-none-match") == "*" and there:
        return error(412, "PreconditionFailed")
    wanted = asked.headers.get("if-match")
    if wanted and not there:
        return error(404, "NoSuchKey")
    if wanted and wanted.strip('"') not in ("*", bucket.etag(asked.key)):
        return error(412, "PreconditionFailed")
    return None


def _kept(asked: Asked) -> dict[str, str]:
    return {
        name: value
        for name, value in asked.headers.items()
        if name.startswith("x-amz-meta-") or name == "content-type"
    }


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
