"""Object access in S3: requests by obstore, credentials and regions by boto3.

boto3 knows every place credentials can come from (profile, IRSA, Pod Identity), obstore makes a request for a
tenth of the CPU. Each process keeps one store for each bucket. Only ``store`` and ``residency`` import this.
"""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, UnauthenticatedError

from job.errors import JobError, UsageError

if TYPE_CHECKING:
    from obstore.store import S3Store

RETRIES: Final = 8


def split(location: str) -> tuple[str, str]:
    """Split ``s3://bucket/key`` into bucket and key."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    return bucket, key


@cache
def bucket_region(bucket: str) -> str:
    """Ask S3 where a bucket is.

    Raises
    ------
    UsageError
        If there is no such bucket, or no credentials.
    JobError
        If S3 does not tell.
    """
    # Imported here: boto3 costs a worker 30 MB, and one that reads folders never needs it.
    import boto3  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415

    try:
        answer = boto3.Session().client("s3").head_bucket(Bucket=bucket)["ResponseMetadata"]
    except ClientError as error:
        answer = error.response["ResponseMetadata"]
        if answer.get("HTTPStatusCode") == 404:
            raise UsageError(f"there is no bucket {bucket!r}: check the name") from None
    except NoCredentialsError:
        raise UsageError(f"no AWS credentials for bucket {bucket!r}: set AWS_PROFILE or log in") from None
    except (BotoCoreError, ValueError) as error:
        raise JobError(f"S3 could not be asked about bucket {bucket!r}: {error}") from None
    region = answer.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    if not region:
        raise JobError(f"S3 does not say where bucket {bucket!r} is (status {answer.get('HTTPStatusCode')})")
    return str(region)


def session_region() -> str | None:
    """Return the region that boto3 is set to, if any."""
    import boto3  # noqa: PLC0415

    return boto3.Session().region_name


@cache
def store(bucket: str) -> "S3Store":
    """Return this process's store for a bucket, with credentials that renew themselves."""
    import boto3  # noqa: PLC0415
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415
    from obstore.store import S3Store  # noqa: PLC0415

    session = boto3.Session()
    endpoint = session.client("s3", region_name=bucket_region(bucket)).meta.endpoint_url
    elsewhere = not endpoint.endswith((".amazonaws.com", ".amazonaws.com/"))
    return S3Store(
        bucket,
        region=bucket_region(bucket),
        endpoint=endpoint if elsewhere else None,
        virtual_hosted_style_request=not elsewhere,
        credential_provider=Boto3CredentialProvider(session),
        client_options={"allow_http": endpoint.startswith("http://")},
        retry_config={"max_retries": RETRIES},
    )


def read(location: str) -> bytes:
    """Return an object's content; PermissionError and FileNotFoundError as for a file."""
    bucket, key = split(location)
    try:
        return bytes(store(bucket).get(key).bytes())
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise PermissionError(location) from error


def write(location: str, data: bytes, only_if_new: bool) -> bool:
    """Put an object; False if `only_if_new` and there is one already."""
    bucket, key = split(location)
    try:
        store(bucket).put(key, data, mode="create" if only_if_new else "overwrite")
    except AlreadyExistsError:
        return False
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise PermissionError(location) from error
    return True


def list_objects(location: str) -> Iterator[tuple[str, int, str, object]]:
    """Yield ``(location, bytes, etag, modified)`` of every object below, in order of their keys."""
    bucket, prefix = split(location)
    try:
        for page in obstore.list(store(bucket), prefix or None, chunk_size=1000):
            for meta in page:
                etag = (meta["e_tag"] or "").strip('"')
                yield f"s3://{bucket}/{meta['path']}", meta["size"], etag, meta["last_modified"]
    except (PermissionDeniedError, UnauthenticatedError):
        raise UsageError(f"{location} may not be listed: these credentials lack s3:ListBucket on it") from None


def list_sizes(location: str) -> Iterator[tuple[str, int]]:
    """Yield ``(location, bytes)`` of every object below."""
    return ((name, size) for name, size, _, _ in list_objects(location))


def delete_tree(location: str) -> None:
    """Delete every object below a location, and the one of that name."""
    bucket, key = split(location)
    keys = [split(name)[1] for name, _ in list_sizes(location)]
    obstore.delete(store(bucket), [*keys, key])
