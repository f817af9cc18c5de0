"""``cluster.sh down --delete-data``: buckets with every version, logs, images and the key."""

import contextlib
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from job.errors import JobError, UsageError
from scripts.cloud.stage import Stage
from scripts.cluster import stage_state
from scripts.cluster.cluster_tools import Hands
from scripts.cluster.stage_state import GONE, Aws

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

# As k8s/account.yaml names them; nobody else's bucket is ever touched.
BUCKETS: Final = ("photos", "results", "logs", "audit")
# The shortest that KMS allows: what the key opened is gone before.
DAYS: Final = 7


def found(aws: Aws, stage: Stage) -> list[str]:
    """Return in words what data there is, and what it hangs on."""
    words = [f"bucket {name} with every version of every object" for name in buckets(aws, stage)]
    words += [f"log group {name}" for name in log_groups(aws, stage)]
    there = stage_state.stack(aws, stage.account_stack)
    if there is not None:
        words.append(f"stack {there.name} with its images, logs and roles, and its key after {DAYS} days")
    return words


def refuse_if_used(aws: Aws, stage: Stage) -> None:
    """Refuse while people hold the stage's policy: the stack could not go, and its data would be gone.

    Raises
    ------
    UsageError
        With who holds it.
    """
    there = stage_state.stack(aws, stage.account_stack)
    policy = there.outputs.get("SubmitPolicyArn") if there is not None else None
    if policy is None:
        return
    try:
        held = aws.iam.list_entities_for_policy(PolicyArn=policy)
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return
        raise
    names = [
        *(f"user {one['UserName']}" for one in held["PolicyUsers"]),
        *(f"role {one['RoleName']}" for one in held["PolicyRoles"]),
        *(f"group {one['GroupName']}" for one in held["PolicyGroups"]),
    ]
    if names:
        raise UsageError(
            f"policy {policy} is attached to {', '.join(names)}: detach it first; nothing was changed"
        )


def buckets(aws: Aws, stage: Stage) -> list[str]:
    """Return the stage's buckets, by their names, so that those of a stack that is gone are found too.

    The one for access logs is the last: the others' deletion is still written there.
    """
    there = {one["Name"] for one in aws.s3.list_buckets()["Buckets"]}
    mine = [f"{stage.cluster}-{what}-{aws.account}" for what in BUCKETS]
    return [name for name in mine if name in there]


def log_groups(aws: Aws, stage: Stage) -> list[str]:
    """Return log groups that outlive their makers: the control plane's, and the network's record."""
    names: list[str] = []
    for prefix in (f"/aws/eks/{stage.cluster}/cluster", f"{stage.network_stack}-FlowLogGroup-"):
        pages = aws.logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix)
        names += [one["logGroupName"] for page in pages for one in page["logGroups"]]
    return names


def empty_all(hands: Hands, aws: Aws) -> bool:
    """Empty the buckets, and let the key go: its stack, which says which one that is, is still there."""
    for name in buckets(aws, hands.stage):
        print(f"# every version of every object in s3://{name} is deleted: no command of the CLI does that")
        if not hands.dry_run:
            print(f"  {empty(aws, name)} deleted", flush=True)
    key = _key(aws, hands.stage)
    about = aws.kms.describe_key(KeyId=key)["KeyMetadata"] if key is not None else None
    if about is not None and about.get("KeyState") != "PendingDeletion":
        hands.aws("kms", "schedule-key-deletion", "--key-id", about["KeyId"],
                  "--pending-window-in-days", str(DAYS))  # fmt: skip
    return True


def _key(aws: Aws, stage: Stage) -> str | None:
    """Return the stage's key: its stack's, or if that was deleted by hand, the one that a bucket names."""
    there = stage_state.stack(aws, stage.account_stack)
    if there is not None and "KeyArn" in there.outputs:
        return there.outputs["KeyArn"]
    for name in buckets(aws, stage):
        with contextlib.suppress(ClientError):
            (rule,) = aws.s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
            if key := rule["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID"):
                return key
    return None


def remove_kept(hands: Hands, aws: Aws) -> bool:
    """Delete what outlives its stack: buckets, and logs that others have made."""
    for name in buckets(aws, hands.stage):
        if not hands.dry_run:
            empty(aws, name)  # access logs come late, and may have come since
        hands.aws("s3api", "delete-bucket", "--bucket", name)
    for name in log_groups(aws, hands.stage):
        hands.aws("logs", "delete-log-group", "--log-group-name", name)
    return True


def empty(aws: Aws, bucket: str) -> int:
    """Delete every version, delete marker and unfinished upload of a bucket; return how many there were.

    Raises
    ------
    JobError
        If S3 keeps one.
    """
    gone = 0
    # From the start each time: what is listed is deleted, and a place in a list that changes means nothing.
    while objects := _versions(aws, bucket):
        done = aws.s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        for error in done.get("Errors", []):
            raise JobError(f"S3 keeps an object in {bucket}: {error.get('Message', error.get('Code', ''))}")
        gone += len(objects)
    for uploads in aws.s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for one in uploads.get("Uploads", []):
            aws.s3.abort_multipart_upload(Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
            gone += 1
    return gone


def _versions(aws: Aws, bucket: str) -> "list[ObjectIdentifierTypeDef]":
    """Return some of the versions and delete markers that a bucket holds, as many as are deleted at once."""
    page = aws.s3.list_object_versions(Bucket=bucket, MaxKeys=1000)
    listed: list[Any] = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    return [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in listed]
