"""What S3 is asked about objects, by boto3: whether one is there, what stays of old ones.

Stands beside ``s3``; ``retention`` tells with it what stays after an erasure.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from job import aws, s3

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import LifecycleRuleOutputTypeDef

NO_RULES: Final = "NoSuchLifecycleConfiguration"


class OldVersions(NamedTuple):
    """Whether a bucket keeps what is overwritten or deleted, and for how many days: None is for ever."""

    kept: bool
    days: int | None = None


def exists(location: str) -> bool:
    """Tell whether there is an object.

    Raises
    ------
    OSError
        As ``s3.read`` does; a PermissionError where S3 does not tell, as without ``s3:ListBucket``.
    """
    bucket, key = s3.split(location)
    try:
        aws.tried(partial(s3.client(bucket, 0).head_object, Bucket=bucket, Key=key), location, s3.PATIENCE)
    except FileNotFoundError:
        return False
    return True


def old_versions(location: str) -> OldVersions:
    """Return what is kept of the objects below a location once they are overwritten or deleted.

    Raises
    ------
    OSError
        As ``s3.read`` does; a PermissionError without ``s3:GetBucketVersioning`` or
        ``s3:GetLifecycleConfiguration``.
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415

    bucket, key = s3.split(location)
    client = s3.client(bucket, 0)
    versioning: Any = aws.tried(partial(client.get_bucket_versioning, Bucket=bucket), location, s3.PATIENCE)
    if not versioning.get("Status"):
        return OldVersions(kept=False)

    def rules() -> "list[LifecycleRuleOutputTypeDef]":
        try:
            return client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        except ClientError as error:
            if error.response["Error"]["Code"] == NO_RULES:
                return []
            raise

    found = [_days(rule, f"{key}/") for rule in aws.tried(rules, location, s3.PATIENCE)]
    return OldVersions(kept=True, days=min((days for days in found if days is not None), default=None))


def _days(rule: "LifecycleRuleOutputTypeDef", prefix: str) -> int | None:
    """Return after how many days a rule ends every old version below a prefix; None if it does not."""
    ending = rule.get("NoncurrentVersionExpiration", {})
    chosen = rule.get("Filter", {})
    both = chosen.get("And", {})
    # A rule for objects of a tag or a size, or one that keeps some versions, does not end them all.
    narrow = {*chosen, *both} - {"Prefix", "And"}
    begins = rule.get("Prefix") or chosen.get("Prefix") or both.get("Prefix") or ""
    if rule["Status"] != "Enabled" or narrow or ending.get("NewerNoncurrentVersions"):
        return None
    return ending.get("NoncurrentDays") if prefix.startswith(begins) else None
