"""Objects in S3: obstore reads and writes photos and tables, boto3 does everything else.

obstore needs a tenth of boto3's CPU per request, but treats keys as paths: it refuses some keys and drops the
outer slashes of others, and one such key would end its listing. So boto3 lists objects, reads those few keys,
and finds the credentials (profile, IRSA, Pod Identity). Each process keeps one store and client per bucket.
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
from job.storage import aws, retries, s3_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef
    from obstore.store import S3Config, S3Store

WHOLE_BYTES: Final = 2**20  # smaller objects are read whole: one request instead of three or four
FOOTER_BYTES: Final = 2**17  # ten times the Parquet footer of some thousand photos
KEYS_PER_REQUEST: Final = 1000  # S3's limit
# botocore renews credentials at the latest ten minutes before they expire, so they are valid for that long.
CREDENTIALS_LIFETIME: Final = timedelta(minutes=10)
# Keys that obstore refuses or changes: with control characters, or with an empty part, "." or "..".
UNSUPPORTED_KEY: Final = re.compile(r"[\x00-\x1f\x7f]|(?:^|/)\.{0,2}(?:/|\Z)")

_opening_lock = threading.Lock()


def split(location: str) -> tuple[str, str]:
    """Split ``s3://bucket/key`` into bucket and key."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    return bucket, key


@cache
def store(bucket: str, writing: bool = False) -> "S3Store":
    """Return this process's store for a bucket, with self-renewing credentials and without retries."""
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415
    from obstore.store import S3Store  # noqa: PLC0415

    region = aws.bucket_region(bucket)
    endpoint = aws.client(region).meta.endpoint_url
    # S3's certificate does not cover host names of buckets with a dot.
    config: S3Config = {"region": region, "virtual_hosted_style_request": "." not in bucket}
    if endpoint != f"https://s3.{region}.amazonaws.com":
        config = {"region": region, "virtual_hosted_style_request": False, "endpoint": endpoint}
    return S3Store(
        bucket,
        config=config,
        credential_provider=Boto3CredentialProvider(aws.session(), ttl=CREDENTIALS_LIFETIME),
        # A slow transfer is no error as long as bytes arrive.
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
    """Return this process's boto3 client for a bucket, with a number of retries."""
    return aws.client(aws.bucket_region(bucket), retries)


def read(location: str) -> bytes:
    """Return an object's content.

    Raises
    ------
    FileNotFoundError
        If the object does not exist.
    PermissionError
        If it may not be read.
    OSError
        If S3 fails for longer than ``retries.RETRY_POLICY`` allows, or does not accept the credentials.
    """
    bucket, key = split(location)
    if not UNSUPPORTED_KEY.search(key):
        return retries.retry(lambda: bytes(_opened_store(bucket).get(key).bytes()), location)
    with _opening_lock:
        boto3 = client(bucket, 0)
    return retries.retry(lambda: boto3.get_object(Bucket=bucket, Key=key)["Body"].read(), location)  # noqa: PLW0108


def size(location: str) -> int:
    """Return the size of an object in bytes. Raises as :func:`read`."""
    bucket, key = split(location)
    with _opening_lock:
        boto3 = client(bucket, 0)
    return retries.retry(lambda: boto3.head_object(Bucket=bucket, Key=key)["ContentLength"], location)


def read_start(location: str, length: int) -> bytes:
    """Return the first bytes of an object, at most `length`. Raises as :func:`read`."""
    bucket, key = split(location)
    with _opening_lock:
        boto3 = client(bucket, 0)
    part = f"bytes=0-{length - 1}"
    return retries.retry(
        lambda: boto3.get_object(Bucket=bucket, Key=key, Range=part)["Body"].read(),  # noqa: PLW0108
        location,
    )


def exists(location: str) -> bool:
    """Tell whether there is an object at a location. Raises as :func:`read`, but for a missing object."""
    bucket, key = split(location)
    try:
        retries.retry(partial(client(bucket, 0).head_object, Bucket=bucket, Key=key), location)
    except FileNotFoundError:
        return False
    return True


def read_range(location: str, start: int, length: int) -> bytes:
    """Return a part of an object that the job wrote (obstore accepts its key). Raises as :func:`read`."""
    bucket, key = split(location)
    return retries.retry(
        lambda: bytes(_opened_store(bucket).get_range(key, start=start, length=length)), location
    )


class RangeReader(io.RawIOBase):
    """An object of known size that the job wrote, as a seekable file.

    PyArrow reads the footer first, then the selected columns: so the end is fetched at once, and every other
    read is one request.
    """

    def __init__(self, location: str, size: int) -> None:
        super().__init__()
        self._location, self._size, self._position = location, size, 0
        self._end_start = max(0, size - FOOTER_BYTES)
        self._end = read_range(location, self._end_start, size - self._end_start)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position, and return it."""
        self._position = (
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        )
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, or fewer at the end."""
        length = self._size - self._position if size < 0 else min(size, self._size - self._position)
        if length <= 0:
            return b""
        start, self._position = self._position, self._position + length
        if start >= self._end_start:
            return self._end[start - self._end_start : start - self._end_start + length]
        return read_range(self._location, start, length)


def write(location: str, data: bytes, only_if_new: bool) -> bool:
    """Put an object; False if `only_if_new` and it already exists. Raises as :func:`read` does.

    If a retry finds an object with the same bytes, it counts as written: an earlier try's response was lost.
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
        # No multipart upload: the object appears at once, and no parts stay behind.
        mode: Literal["create", "overwrite"] = "create" if only_if_new else "overwrite"
        _opened_store(bucket, writing=True).put(key, data, mode=mode, use_multipart=False)

    try:
        retries.retry(put, location)
    except AlreadyExistsError:
        return tries > 1 and read(location) == data
    return True


def list_objects(location: str, after: str = "") -> Iterator[tuple[str, int, str, object]]:
    """Yield ``(location, bytes, etag, modified)`` of every object below a location, sorted by key.

    `after` is a name relative to the location; objects up to it are left out.

    Raises
    ------
    UsageError
        If the bucket does not exist or may not be listed.
    JobError
        If S3 cannot be reached or fails.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    bucket, prefix = split(location.rstrip("/"))
    folder = prefix and f"{prefix}/"
    request = partial(client(bucket).list_objects_v2, Bucket=bucket, Prefix=folder)
    if after:
        request = partial(request, StartAfter=folder + after)
    # The next page is requested while the caller works on this one.
    with ThreadPoolExecutor(1) as pool:
        next_page: Future[ListObjectsV2OutputTypeDef] | None = pool.submit(request)
        while next_page is not None:
            try:
                page = next_page.result()
            except ClientError as error:
                raise s3_errors.listing_error(location, error) from None
            except BotoCoreError as error:
                raise s3_errors.connection_error(location, error) from None
            token = page.get("NextContinuationToken")
            next_page = pool.submit(request, ContinuationToken=token) if token else None
            for item in page.get("Contents", ()):
                location_of_item = f"s3://{bucket}/{item['Key']}"
                yield location_of_item, item["Size"], item["ETag"].strip('"'), item["LastModified"]


def delete_files(locations: Iterable[str]) -> None:
    """Delete objects of one bucket; missing ones are ignored.

    Raises
    ------
    PermissionError
        If an object may not be deleted.
    OSError
        If S3 fails.
    """
    remaining = iter(locations)
    while batch := list(islice(remaining, KEYS_PER_REQUEST)):
        retries.retry(partial(_delete, batch), batch[0])


def _delete(locations: list[str]) -> None:
    bucket = split(locations[0])[0]
    request: Any = {"Objects": [{"Key": split(location)[1]} for location in locations], "Quiet": True}
    errors = client(bucket).delete_objects(Bucket=bucket, Delete=request).get("Errors", [])
    codes = {error.get("Code", "") for error in errors}
    if refused := sorted(codes.difference(s3_errors.TRANSIENT_CODES)):
        raise PermissionError(errno.EACCES, f"S3 answers {refused[0]}", locations[0])
    if codes:
        raise s3_errors.TransientError(errno.EIO, f"S3 answers {min(codes)}", locations[0])


def _opened_store(bucket: str, writing: bool = False) -> "S3Store":
    """Return the store of a bucket; the lock makes concurrent threads open it once."""
    with _opening_lock:
        return store(bucket, writing)
