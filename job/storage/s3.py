"""Object access in S3: photos and tables are read and written by obstore, everything else is asked by boto3.

boto3 knows every place credentials can come from (profile, IRSA, Pod Identity) and takes every key that S3
takes; obstore makes a request for a tenth of the CPU, but sees a path in a key: it refuses some, and drops a
slash at either end of others. One such key would end its listing, so boto3 lists, and reads those few keys.

Each process keeps one store and one client for each bucket.
"""

import errno
import io
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal

from obstore.exceptions import AlreadyExistsError

from job.errors import UsageError
from job.storage import aws

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef
    from obstore.store import S3Config, S3Store

WHOLE_BYTES: Final = 2**20  # a smaller object is read whole: one request instead of three or four
FOOTER_BYTES: Final = 2**17  # the plan of a Parquet file of some thousand photos is a tenth of it
KEYS_PER_REQUEST: Final = 1000  # the most that S3 takes
# botocore renews credentials ten minutes before their end at the latest: what it hands out is good that long.
CREDENTIALS_LIFETIME: Final = timedelta(minutes=10)
# What obstore refuses or changes: control characters, and parts that are empty, "." or "..".
UNSUPPORTED_KEY: Final = re.compile(r"[\x00-\x1f\x7f]|(?:^|/)\.{0,2}(?:/|\Z)")

_opening_lock = threading.Lock()


def split(location: str) -> tuple[str, str]:
    """Split ``s3://bucket/key`` into bucket and key."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    return bucket, key


@cache
def store(bucket: str, writing: bool = False) -> "S3Store":
    """Return this process's store for a bucket, with credentials that renew themselves. It tries once."""
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415
    from obstore.store import S3Store  # noqa: PLC0415

    region = aws.bucket_region(bucket)
    endpoint = aws.client(region).meta.endpoint_url
    # A dot in a bucket's name would make a host name that S3's certificate does not cover.
    where: S3Config = {"region": region, "virtual_hosted_style_request": "." not in bucket}
    if endpoint != f"https://s3.{region}.amazonaws.com":
        where = {"region": region, "virtual_hosted_style_request": False, "endpoint": endpoint}
    return S3Store(
        bucket,
        config=where,
        credential_provider=Boto3CredentialProvider(aws.session(), ttl=CREDENTIALS_LIFETIME),
        # A slow line is no error as long as bytes arrive.
        client_options={
            "allow_http": endpoint.startswith("http:"),
            "connect_timeout": timedelta(seconds=aws.CONNECT_SECONDS),
            "timeout": "10m",
            "read_timeout": timedelta(seconds=aws.WRITE_SECONDS if writing else aws.READ_SECONDS),
        },
        retry_config={"max_retries": 0},
    )


@cache
def client(bucket: str, retries: int = aws.RETRIES) -> "S3Client":
    """Return this process's boto3 client for a bucket, which tries again so often."""
    return aws.client(aws.bucket_region(bucket), retries)


def read(location: str) -> bytes:
    """Return an object's content.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    PermissionError
        If it may not be read.
    OSError
        If S3 has failed for longer than ``aws.RETRY_POLICY``, or does not accept the credentials.
    """
    bucket, key = split(location)
    if not UNSUPPORTED_KEY.search(key):
        return aws.retry(lambda: bytes(_opened_store(bucket).get(key).bytes()), location)
    with _opening_lock:
        boto3 = client(bucket, 0)
    return aws.retry(lambda: boto3.get_object(Bucket=bucket, Key=key)["Body"].read(), location)  # noqa: PLW0108


def read_range(location: str, start: int, length: int) -> bytes:
    """Return a part of one of our own objects, whose names obstore takes. Raises as :func:`read` does."""
    bucket, key = split(location)
    return aws.retry(
        lambda: bytes(_opened_store(bucket).get_range(key, start=start, length=length)), location
    )


class RangeReader(io.RawIOBase):
    """One of our own objects, of known size, as a seekable file.

    PyArrow reads a file's end first, where its plan is, and then the columns that are wanted: so the end is
    fetched at once, and every other read is one request.
    """

    def __init__(self, location: str, size: int) -> None:
        super().__init__()
        self._location, self._size, self._at = location, size, 0
        self._end_from = max(0, size - FOOTER_BYTES)
        self._end = read_range(location, self._end_from, size - self._end_from)

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, and return it."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, as many as are asked for if there are so many."""
        length = self._size - self._at if size < 0 else min(size, self._size - self._at)
        if length <= 0:
            return b""
        start, self._at = self._at, self._at + length
        if start >= self._end_from:
            return self._end[start - self._end_from : start - self._end_from + length]
        return read_range(self._location, start, length)


def write(location: str, data: bytes, only_if_new: bool) -> bool:
    """Put an object; False if `only_if_new` and there is one already. Raises as :func:`read` does.

    One with the same bytes that appears while a put is tried again counts as ours: the answer to an earlier
    try may be all that got lost.
    """
    bucket, key = split(location)
    if UNSUPPORTED_KEY.search(key):
        raise UsageError(
            f"{location!r} cannot be written: it has an empty or a dotted part, or a control character"
        )
    tries = 0

    def put() -> None:
        nonlocal tries
        tries += 1
        # One request, not one for every 5 MB: what is written appears at once, and leaves no parts behind.
        how: Literal["create", "overwrite"] = "create" if only_if_new else "overwrite"
        _opened_store(bucket, writing=True).put(key, data, mode=how, use_multipart=False)

    try:
        aws.retry(put, location)
    except AlreadyExistsError:
        return tries > 1 and read(location) == data
    return True


def list_objects(location: str, after: str = "") -> Iterator[tuple[str, int, str, object]]:
    """Yield ``(location, bytes, etag, modified)`` of every object below, in order of their keys.

    It begins after the name `after` below the location.

    Raises
    ------
    UsageError
        If there is no such bucket, or it may not be listed.
    JobError
        If S3 does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    bucket, prefix = split(location.rstrip("/"))
    below = prefix and f"{prefix}/"
    ask = partial(client(bucket).list_objects_v2, Bucket=bucket, Prefix=below)
    if after:
        ask = partial(ask, StartAfter=below + after)
    # The next page is on its way while the caller works on this one.
    with ThreadPoolExecutor(1) as pool:
        coming: Future[ListObjectsV2OutputTypeDef] | None = pool.submit(ask)
        while coming is not None:
            try:
                page = coming.result()
            except ClientError as error:
                raise aws.listing_error(location, error) from None
            except BotoCoreError as error:
                raise aws.connection_error(location, error) from None
            token = page.get("NextContinuationToken")
            coming = pool.submit(ask, ContinuationToken=token) if token else None
            for one in page.get("Contents", ()):
                yield f"s3://{bucket}/{one['Key']}", one["Size"], one["ETag"].strip('"'), one["LastModified"]


def delete_files(locations: Iterable[str]) -> None:
    """Delete objects of one bucket, those that are there.

    Raises
    ------
    PermissionError
        If one of them may not be deleted.
    OSError
        If S3 fails.
    """
    names = iter(locations)
    while some := list(islice(names, KEYS_PER_REQUEST)):
        aws.retry(partial(_delete, some), some[0])


def _delete(locations: list[str]) -> None:
    bucket = split(locations[0])[0]
    wanted: Any = {"Objects": [{"Key": split(one)[1]} for one in locations], "Quiet": True}
    failed = client(bucket).delete_objects(Bucket=bucket, Delete=wanted).get("Errors", [])
    codes = {one.get("Code", "") for one in failed}
    if refused := sorted(codes.difference(aws.TRANSIENT_CODES)):
        raise PermissionError(errno.EACCES, f"S3 answers {refused[0]}", locations[0])
    if codes:
        raise aws.TransientError(errno.EIO, f"S3 answers {min(codes)}", locations[0])


def _opened_store(bucket: str, writing: bool = False) -> "S3Store":
    """Return the store of a bucket; of many threads that ask at once, one opens it."""
    with _opening_lock:
        return store(bucket, writing)
