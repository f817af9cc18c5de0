"""The properties of each resource in the account's template."""

import json
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.support.templates import ACCOUNT, KEY_ID, NETWORK, Stack

DATA: Final = ("Photos", "Results", "Logs")
OUTPUTS: Final = {
    "PhotosBucket": "fruits-dev-photos-111122223333",
    "ResultsBucket": "fruits-dev-results-111122223333",
    "LogsBucket": "fruits-dev-logs-111122223333",
    "KeyArn": f"arn:aws:kms:eu-west-1:111122223333:key/{KEY_ID}",
    "RepositoryName": "fruits-dev",
    "RepositoryUri": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/fruits-dev",
    "LogGroup": "/fruits/dev",
    "ExecutionRoleArn": "arn:aws:iam::111122223333:role/fruits-dev-job",
    "ExecutionRoleName": "fruits-dev-job",
    "NodeRoleArn": "arn:aws:iam::111122223333:role/fruits-dev-node",
    "SubmitPolicyArn": "arn:aws:iam::111122223333:policy/fruits-dev-submit",
}
TEMPLATE_BYTES: Final = 51_200  # CloudFormation's limit for a template without an upload
# Resources that the stack tags, or that take no tags.
UNTAGGED: Final = {
    *("KMS::Key", "KMS::Alias", "S3::BucketPolicy", "IAM::ManagedPolicy", "SNS::TopicPolicy"),
    *("Events::Rule", "Budgets::Budget"),
    *("EC2::Route", "EC2::SubnetRouteTableAssociation", "EC2::VPCGatewayAttachment"),
}
MONTH: Final = 30

RESOURCES: Final = Stack(ACCOUNT).resources


@pytest.mark.parametrize("name", [*DATA, "Audit"])
def test_a_bucket_outlives_the_stack_is_private_and_keeps_versions(name: str) -> None:
    resource = RESOURCES[name]
    bucket = resource["Properties"]
    assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
    assert resource["UpdateReplacePolicy"] == "Retain"
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert bucket["VersioningConfiguration"]["Status"] == "Enabled"
    assert RESOURCES[f"{name}Policy"]["Properties"]["Bucket"] == bucket["BucketName"]


@pytest.mark.parametrize("name", DATA)
def test_data_is_encrypted_with_the_key_and_watched_and_what_was_erased_is_gone_in_a_month(name: str) -> None:
    bucket = RESOURCES[name]["Properties"]
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    encryption_key = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": OUTPUTS["KeyArn"]}
    assert encryption == {"ServerSideEncryptionByDefault": encryption_key, "BucketKeyEnabled": True}
    assert bucket["LoggingConfiguration"]["DestinationBucketName"] == "fruits-dev-audit-111122223333"
    rules = bucket["LifecycleConfiguration"]["Rules"]
    whole = [rule for rule in rules if rule["Status"] == "Enabled" and "Prefix" not in rule]
    assert any(rule.get("AbortIncompleteMultipartUpload") for rule in whole)
    days = [int(rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays", 999)) for rule in whole]
    assert min(days) < MONTH
    assert any("ExpirationInDays" in rule for rule in whole) == (name == "Logs")


def test_the_key_stays_and_grows_new_material_and_the_access_logs_can_be_delivered() -> None:
    key = RESOURCES["Key"]
    assert key["DeletionPolicy"] == "RetainExceptOnCreate" and key["Properties"]["EnableKeyRotation"]
    (audit,) = RESOURCES["Audit"]["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    # S3 delivers access logs only to buckets with this encryption.
    assert audit["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


def test_images_never_move_are_scanned_and_encrypted_and_go_in_time() -> None:
    repository = RESOURCES["Repository"]["Properties"]
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert repository["ImageScanningConfiguration"]["ScanOnPush"]
    assert repository["EncryptionConfiguration"] == {"EncryptionType": "KMS", "KmsKey": OUTPUTS["KeyArn"]}
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert {rule["selection"]["tagStatus"] for rule in rules} == {"untagged", "any"}


def test_logs_are_encrypted_and_go_in_time() -> None:
    group = RESOURCES["LogGroup"]["Properties"]
    assert group["KmsKeyId"] == OUTPUTS["KeyArn"] and "RetentionInDays" in group


def test_the_role_lets_nobody_in_before_there_is_a_cluster_and_has_a_list_to_append_to() -> None:
    trust = RESOURCES["ExecutionRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert isinstance(trust, list) and {statement["Effect"] for statement in trust} == {"Deny"}


def test_the_stack_gives_what_the_scripts_ask_for() -> None:
    assert Stack(ACCOUNT).outputs == OUTPUTS


def test_stages_share_no_name() -> None:
    shared = set(Stack(ACCOUNT).outputs.values()) & set(Stack(ACCOUNT, Stage="prod").outputs.values())
    assert shared == {OUTPUTS["KeyArn"]}, "of a key only its id is known here, which is the same for both"


def test_photos_expire_only_where_somebody_says_so() -> None:
    def days(**parameters: str) -> list[str]:
        rules = Stack(ACCOUNT, **parameters).of_type("S3::Bucket")["Photos"]["LifecycleConfiguration"][
            "Rules"
        ]
        return [rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule]

    assert days() == []
    assert days(PhotoDays="30") == ["30"]


@pytest.mark.parametrize("file", [ACCOUNT, NETWORK], ids=lambda file: str(file.name))
def test_everything_that_can_be_has_its_tags(file: Path) -> None:
    alarm = {"AlarmEmail": "ada@example.org", "BudgetUsd": "100"} if file == ACCOUNT else {}
    for name, resource in Stack(file, Stage="prod", **alarm).resources.items():
        tags = {tag["Key"]: tag["Value"] for tag in resource["Properties"].get("Tags", [])}
        tags.pop("Name", None)
        if resource["Type"].removeprefix("AWS::") in UNTAGGED:
            assert not tags, name
        else:
            assert {"project": "fruits", "stage": "prod", "residency": "ireland"}.items() <= tags.items(), (
                name
            )


@pytest.mark.parametrize("file", [ACCOUNT, NETWORK], ids=lambda file: str(file.name))
def test_a_template_is_short_enough_and_for_ireland_only(file: Path) -> None:
    assert file.stat().st_size < TEMPLATE_BYTES
    events = yaml.parse(file.read_text(encoding="utf-8"))
    assert not any(isinstance(event, yaml.AliasEvent) for event in events), "CloudFormation takes none"
    for region in ("us-east-1", "eu-west-2", "eu-central-2"):
        with pytest.raises(KeyError, match=region):
            Stack(file, region=region)
