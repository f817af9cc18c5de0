"""The account's template: what each of its resources must be, and that a worse one would be noticed."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest

from tests.templates import ACCOUNT, KEY_ID, NETWORK, Stack, read

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
    "SubmitPolicyArn": "arn:aws:iam::111122223333:policy/fruits-dev-submit",
}
TEMPLATE_BYTES: Final = 51_200  # what CloudFormation takes without a bucket to upload to
# Tagged by the stack, or not at all.
UNTAGGED: Final = {
    *("KMS::Key", "KMS::Alias", "S3::BucketPolicy", "IAM::ManagedPolicy"),
    *("EC2::Route", "EC2::SubnetRouteTableAssociation", "EC2::VPCGatewayAttachment"),
}
MONTH: Final = 30

Resources = dict[str, Any]


def faults(resources: Resources) -> Iterator[str]:
    """Yield what is wrong with the resources of an account's stack."""
    for name in DATA:
        yield from _faults_of_data(name, resources[name])
    for name in (*DATA, "Audit"):
        bucket = resources[name]["Properties"]
        if resources[name]["DeletionPolicy"] != "RetainExceptOnCreate":
            yield f"{name} goes with the stack"
        if resources[name]["UpdateReplacePolicy"] != "Retain":
            yield f"{name} goes with an update"
        if set(bucket["PublicAccessBlockConfiguration"].values()) != {True}:
            yield f"{name} may be public"
        if bucket["OwnershipControls"]["Rules"] != [{"ObjectOwnership": "BucketOwnerEnforced"}]:
            yield f"{name} has ACLs"
        if bucket["VersioningConfiguration"]["Status"] != "Enabled":
            yield f"{name} has no versions"
        if resources[f"{name}Policy"]["Properties"]["Bucket"] != bucket["BucketName"]:
            yield f"{name} has the policy of another"
    yield from _faults_of_the_rest(resources)


def _faults_of_data(name: str, resource: Resources) -> Iterator[str]:
    bucket = resource["Properties"]
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    ours = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": OUTPUTS["KeyArn"]}
    if encryption != {"ServerSideEncryptionByDefault": ours, "BucketKeyEnabled": True}:
        yield f"{name} is not encrypted with the key, or not by a bucket key"
    if bucket["LoggingConfiguration"]["DestinationBucketName"] != "fruits-dev-audit-111122223333":
        yield f"{name} is not watched"
    rules = [rule for rule in bucket["LifecycleConfiguration"]["Rules"] if rule["Status"] == "Enabled"]
    whole = [rule for rule in rules if "Prefix" not in rule]
    if not any(rule.get("AbortIncompleteMultipartUpload") for rule in whole):
        yield f"{name} keeps uploads that broke off"
    days = [int(rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays", 999)) for rule in whole]
    if min(days, default=999) >= MONTH:
        yield f"{name} keeps for a month what was erased"
    if name == "Logs" and not any("ExpirationInDays" in rule for rule in whole):
        yield "Logs keeps logs for ever"


def _faults_of_the_rest(resources: Resources) -> Iterator[str]:
    key = resources["Key"]
    if key["DeletionPolicy"] != "RetainExceptOnCreate" or not key["Properties"]["EnableKeyRotation"]:
        yield "Key is lost, or grows old"
    repository = resources["Repository"]["Properties"]
    if repository["ImageTagMutability"] != "IMMUTABLE":
        yield "Repository lets tags move"
    if not repository["ImageScanningConfiguration"]["ScanOnPush"]:
        yield "Repository does not look into images"
    if repository["EncryptionConfiguration"] != {"EncryptionType": "KMS", "KmsKey": OUTPUTS["KeyArn"]}:
        yield "Repository is not encrypted with the key"
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    if {rule["selection"]["tagStatus"] for rule in rules} != {"untagged", "any"}:
        yield "Repository keeps every image"
    group = resources["LogGroup"]["Properties"]
    if group.get("KmsKeyId") != OUTPUTS["KeyArn"] or "RetentionInDays" not in group:
        yield "LogGroup is not encrypted with the key, or keeps logs for ever"
    (audit,) = resources["Audit"]["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    if audit["ServerSideEncryptionByDefault"] != {"SSEAlgorithm": "AES256"}:
        yield "Audit would get no access logs"
    trust = resources["ExecutionRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    if not isinstance(trust, list) or any(one["Effect"] == "Allow" for one in trust):
        yield "ExecutionRole lets somebody in before there is a cluster, or has no list to append to"


def test_the_accounts_stack_is_without_fault() -> None:
    assert list(faults(Stack(ACCOUNT).resources)) == []


Change = Callable[[Resources], object]
WORSE: Final[dict[str, Change]] = {
    "Photos is not encrypted": lambda r: r["Photos"]["BucketEncryption"].update(
        ServerSideEncryptionConfiguration=[{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    ),
    "Results is not encrypted": lambda r: r["Results"]["BucketEncryption"][
        "ServerSideEncryptionConfiguration"
    ][0].update(BucketKeyEnabled=False),
    "Logs is not watched": lambda r: r["Logs"]["LoggingConfiguration"].update(DestinationBucketName="x"),
    "Photos keeps uploads": lambda r: r["Photos"]["LifecycleConfiguration"]["Rules"].pop(0),
    "Photos keeps for a month": lambda r: r["Photos"]["LifecycleConfiguration"]["Rules"].pop(1),
    "Results keeps for a month": lambda r: r["Results"]["LifecycleConfiguration"]["Rules"][1].update(
        Status="Disabled"
    ),
    "Logs keeps logs": lambda r: r["Logs"]["LifecycleConfiguration"]["Rules"][1].pop("ExpirationInDays"),
    "Photos goes with the stack": lambda r: r["Photos"].update(_DeletionPolicy="Delete"),
    "Logs goes with an update": lambda r: r["Logs"].update(_UpdateReplacePolicy="Delete"),
    "Audit may be public": lambda r: r["Audit"]["PublicAccessBlockConfiguration"].update(
        BlockPublicAcls=False
    ),
    "Photos has ACLs": lambda r: r["Photos"]["OwnershipControls"].update(Rules=[]),
    "Results has no versions": lambda r: r["Results"]["VersioningConfiguration"].update(Status="Suspended"),
    "Logs has the policy": lambda r: r["LogsPolicy"].update(Bucket="fruits-dev-photos-111122223333"),
    "Key is lost": lambda r: r["Key"].update(EnableKeyRotation=False),
    "Repository lets": lambda r: r["Repository"].update(ImageTagMutability="MUTABLE"),
    "Repository does not": lambda r: r["Repository"].update(ImageScanningConfiguration={"ScanOnPush": False}),
    "Repository is": lambda r: r["Repository"].update(EncryptionConfiguration={"EncryptionType": "AES256"}),
    "Repository keeps": lambda r: r["Repository"].update(
        LifecyclePolicy={"LifecyclePolicyText": '{"rules": []}'}
    ),
    "LogGroup is": lambda r: r["LogGroup"].pop("KmsKeyId"),
    "Audit would": lambda r: r["Audit"].update(BucketEncryption=r["Photos"]["BucketEncryption"]),
    "ExecutionRole lets": lambda r: r["ExecutionRole"]["AssumeRolePolicyDocument"]["Statement"][0].update(
        Effect="Allow"
    ),
}


@pytest.mark.parametrize("fault", WORSE)
def test_a_worse_account_would_be_noticed(fault: str) -> None:
    resources = deepcopy(Stack(ACCOUNT).resources)
    properties = {name: one["Properties"] for name, one in resources.items()}
    WORSE[fault](properties)
    for one in resources.values():
        for name in ("DeletionPolicy", "UpdateReplacePolicy"):
            one[name] = one["Properties"].pop(f"_{name}", one.get(name))
    assert any(found.startswith(fault) for found in faults(resources))


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
    for name, resource in Stack(file, Stage="prod").resources.items():
        tags = {one["Key"]: one["Value"] for one in resource["Properties"].get("Tags", [])}
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
    for region in ("us-east-1", "eu-west-2", "eu-central-2"):
        with pytest.raises(KeyError, match=region):
            Stack(file, region=region)


def test_an_alias_in_a_template_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "template.yaml"
    file.write_text("a: &one {b: c}\nd: *one\n")
    with pytest.raises(ValueError, match="no aliases"):
        read(file)
