"""``cluster.sh down --delete-data``: deletes buckets with every version, logs, images and the key."""

import contextlib
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from job.errors import JobError, UsageError
from scripts.cloud.stage import Stage, find_stack
from scripts.cluster.cluster_tools import Tools
from scripts.cluster.stage_state import NOT_FOUND, AwsClients

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

# The buckets of k8s/account.yaml; no other bucket is touched.
BUCKETS: Final = ("photos", "results", "logs", "audit")
# The shortest that KMS allows; what the key encrypted is already deleted.
KEY_DELETION_DAYS: Final = 7


def data_to_delete(aws: AwsClients, stage: Stage) -> list[str]:
    """Describe the buckets, log groups and the stack that ``--delete-data`` deletes."""
    descriptions = [f"bucket {name} with every version of every object" for name in buckets(aws, stage)]
    descriptions += [f"log group {name}" for name in log_groups(aws, stage)]
    stack = find_stack(aws.cloudformation, stage.account_stack)
    if stack is not None:
        descriptions.append(
            f"stack {stack.name} with its images, logs and roles, and its key after {KEY_DELETION_DAYS} days"
        )
    return descriptions


def refuse_attached_policy(aws: AwsClients, stage: Stage) -> None:
    """Check that the stage's policy is attached to nobody: else its stack cannot be deleted after the data.

    Raises
    ------
    UsageError
        If it is, with the users, roles and groups.
    """
    stack = find_stack(aws.cloudformation, stage.account_stack)
    policy = stack.outputs.get("SubmitPolicyArn") if stack is not None else None
    if policy is None:
        return
    try:
        holders = aws.iam.list_entities_for_policy(PolicyArn=policy)
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND:
            return
        raise
    names = [
        *(f"user {holder['UserName']}" for holder in holders["PolicyUsers"]),
        *(f"role {holder['RoleName']}" for holder in holders["PolicyRoles"]),
        *(f"group {holder['GroupName']}" for holder in holders["PolicyGroups"]),
    ]
    if names:
        raise UsageError(
            f"policy {policy} is attached to {', '.join(names)}: detach it first; nothing was changed"
        )


def buckets(aws: AwsClients, stage: Stage) -> list[str]:
    """Return the stage's buckets, found by name, so that a deleted stack's buckets are found too.

    The access-log bucket comes last, because deleting the others still writes to it.
    """
    existing = {bucket["Name"] for bucket in aws.s3.list_buckets()["Buckets"]}
    names = [f"{stage.cluster}-{purpose}-{aws.account}" for purpose in BUCKETS]
    return [name for name in names if name in existing]


def log_groups(aws: AwsClients, stage: Stage) -> list[str]:
    """Return the log groups that outlive cluster and network: the control plane's and the VPC flow logs'."""
    names: list[str] = []
    for prefix in (f"/aws/eks/{stage.cluster}/cluster", f"{stage.network_stack}-FlowLogGroup-"):
        pages = aws.logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix)
        names += [group["logGroupName"] for page in pages for group in page["logGroups"]]
    return names


def empty_buckets(tools: Tools, aws: AwsClients) -> bool:
    """Empty the buckets and schedule the key's deletion, while the stack still names the key."""
    for name in buckets(aws, tools.stage):
        print(f"# every version of every object in s3://{name} is deleted: no command of the CLI does that")
        if not tools.dry_run:
            print(f"  {empty_bucket(aws, name)} deleted", flush=True)
    key = _key(aws, tools.stage)
    metadata = aws.kms.describe_key(KeyId=key)["KeyMetadata"] if key is not None else None
    if metadata is not None and metadata.get("KeyState") != "PendingDeletion":
        tools.aws("kms", "schedule-key-deletion", "--key-id", metadata["KeyId"],
                  "--pending-window-in-days", str(KEY_DELETION_DAYS))  # fmt: skip
    return True


def _key(aws: AwsClients, stage: Stage) -> str | None:
    """Return the key's ARN from the stack's outputs or, if the stack is gone, from a bucket's encryption."""
    stack = find_stack(aws.cloudformation, stage.account_stack)
    if stack is not None and "KeyArn" in stack.outputs:
        return stack.outputs["KeyArn"]
    for name in buckets(aws, stage):
        with contextlib.suppress(ClientError):
            (rule,) = aws.s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
            if key := rule["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID"):
                return key
    return None


def delete_buckets_and_logs(tools: Tools, aws: AwsClients) -> bool:
    """Delete what outlives the stacks: the buckets, and the log groups of cluster and network."""
    for name in buckets(aws, tools.stage):
        if not tools.dry_run:
            empty_bucket(aws, name)  # access logs may have arrived late
        tools.aws("s3api", "delete-bucket", "--bucket", name)
    for name in log_groups(aws, tools.stage):
        tools.aws("logs", "delete-log-group", "--log-group-name", name)
    return True


def empty_bucket(aws: AwsClients, bucket: str) -> int:
    """Delete every version, delete marker and unfinished upload of a bucket; return their number.

    Raises
    ------
    JobError
        If S3 does not delete one.
    """
    deleted = 0
    # Listed from the start each time, since deletion invalidates a continuation token.
    while objects := _versions(aws, bucket):
        response = aws.s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        for error in response.get("Errors", []):
            raise JobError(f"S3 keeps an object in {bucket}: {error.get('Message', error.get('Code', ''))}")
        deleted += len(objects)
    for uploads in aws.s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in uploads.get("Uploads", []):
            aws.s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
            deleted += 1
    return deleted


def _versions(aws: AwsClients, bucket: str) -> "list[ObjectIdentifierTypeDef]":
    """Return up to 1,000 versions and delete markers of a bucket: the most that one request deletes."""
    page = aws.s3.list_object_versions(Bucket=bucket, MaxKeys=1000)
    versions: list[Any] = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    return [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in versions]
