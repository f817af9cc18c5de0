"""cluster.sh down --delete-data deletes the stage's data only, and only after confirmation."""

import boto3
import pytest

from tests.support.aws_emulator import ACCOUNT
from tests.support.recorders.desk import Desk
from tests.support.recorders.emulator import stacks

PHOTOS = f"fruits-dev-photos-{ACCOUNT}"
ARCHIVE = f"fruits-dev-archive-{ACCOUNT}"


pytestmark = pytest.mark.usefixtures("standing")


def test_delete_data_deletes_every_version_and_the_key(desk: Desk) -> None:
    s3, logs = boto3.client("s3"), boto3.client("logs")
    s3.put_bucket_versioning(Bucket=PHOTOS, VersioningConfiguration={"Status": "Enabled"})
    for number in range(3):
        s3.put_object(Bucket=PHOTOS, Key="photos/a.jpg", Body=bytes(number))
    s3.delete_object(Bucket=PHOTOS, Key="photos/a.jpg")
    s3.create_multipart_upload(Bucket=PHOTOS, Key="photos/b.jpg")
    for name in ("somebodys", ARCHIVE):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    logs.create_log_group(logGroupName="/aws/eks/fruits-dev/cluster")
    (key,) = boto3.client("kms").list_keys()["Keys"]
    outcome = desk("down", "--yes", "--delete-data")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"s3://{PHOTOS} is deleted: no command of the CLI does that\n  5 deleted\n" in outcome.out
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["somebodys", ARCHIVE]
    state = boto3.client("kms").describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"]
    assert state == "PendingDeletion" and stacks() == []
    assert logs.describe_log_groups()["logGroups"] == []
    assert desk("down", "--delete-data").out.splitlines()[1] == "there is nothing to remove"
    boto3.client("iam").delete_policy(
        PolicyArn=f"arn:aws:iam::{ACCOUNT}:policy/fruits-dev-submit"
    )  # moto keeps it
    assert desk("up", "--yes").code == 0, "nothing is in the way of a new one"


def test_data_is_deleted_only_if_the_stages_name_is_typed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    outcome = desk("down", "--delete-data", answer="y")
    assert outcome.code == 2 and outcome.err == "error: the answer was not 'dev': nothing was changed\n"
    assert desk.cloud.virtual_clusters()[0].state == "RUNNING"
    assert desk("down", "--delete-data", answer="dev").code == 0


@pytest.mark.parametrize(
    "command", ["schedule-key-deletion", "delete-stack --stack-name fruits-dev ", "delete-bucket"]
)
def test_a_deletion_of_data_that_was_ended_is_said_by_up_and_goes_on(command: str, desk: Desk) -> None:
    desk.interrupt(command)
    assert desk("down", "--yes", "--delete-data").code == 130
    outcome = desk("up", "--yes")
    if command == "schedule-key-deletion":
        message = "is PendingDeletion, a removal was left half-done: to keep the data, aws kms"
        assert outcome.code == 2 and message in outcome.err
    assert desk("down", "--yes", "--delete-data").code == 0
    assert boto3.client("s3").list_buckets()["Buckets"] == [] and stacks() == []


def test_data_stays_while_people_hold_the_policy(desk: Desk) -> None:
    iam = boto3.client("iam")
    policy = f"arn:aws:iam::{ACCOUNT}:policy/fruits-dev-submit"
    iam.create_user(UserName="ada")
    iam.attach_user_policy(UserName="ada", PolicyArn=policy)
    outcome = desk("down", "--yes", "--delete-data")
    assert outcome.code == 2
    assert (
        outcome.err
        == f"error: policy {policy} is attached to user ada: detach it first; nothing was changed\n"
    )
    assert desk.cloud.virtual_clusters()[0].state == "RUNNING"


def test_an_object_that_comes_after_the_emptying_goes_too(desk: Desk) -> None:
    s3 = boto3.client("s3")

    def write_late(line: str) -> None:
        if "delete-stack --stack-name fruits-dev " in line:
            s3.put_object(Bucket=PHOTOS, Key="late", Body=b"x")

    desk.after.append(write_late)
    assert desk("down", "--yes", "--delete-data").code == 0
    assert s3.list_buckets()["Buckets"] == []
