"""The templates and their policies in the eyes of cfn-lint, cloudsplaining and AWS's list of actions."""

import importlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from cloudsplaining.scan.policy_document import PolicyDocument
from policy_sentry.querying.actions import get_action_data

from tests.iam_requests import policies
from tests.templates import ACCOUNT, NETWORK, VARIABLE, Stack, identity_policies

lint_file: Final = importlib.import_module("cfnlint.api").lint_file  # it comes without types
IDENTITY: Final = {
    name: document
    for file in (ACCOUNT, NETWORK)
    for name, document in identity_policies(Stack(file, Stage="prod"))
}
RISKS: Final = (
    "all_allowed_unrestricted_actions",
    "allows_data_exfiltration_actions",
    "allows_privilege_escalation",
    "contains_statement_using_not_action",
    "credentials_exposure",
    "infrastructure_modification",
    "permissions_management_without_constraints",
    "service_wildcard",
    "tagging_actions_without_constraints",
    "write_actions_without_constraints",
)
# Keys that go with every request, or with every one of their service; not in the lists of single actions.
EVERYWHERE: Final = {
    *("aws:PrincipalAccount", "aws:RequestedRegion", "aws:ResourceAccount", "aws:SecureTransport"),
    *("aws:SourceAccount", "aws:SourceArn", "kms:EncryptionContext:aws:logs:arn"),
}


@pytest.mark.parametrize("file", [ACCOUNT, NETWORK], ids=lambda file: str(file.name))
def test_cfn_lint_finds_nothing(file: Path) -> None:
    assert [str(found) for found in lint_file(file)] == []


@pytest.mark.parametrize(
    ("file", "changes", "rules"),
    [
        (
            ACCOUNT,
            {"SSEAlgorithm: aws:kms": "SSEAlgorithm: none", "!GetAtt Key.Arn": "!GetAtt Key.Name"},
            {"E3030", "E1010"},
        ),
        (NETWORK, {"EnableDnsSupport": "Dns", "!Ref PrivateRoutes": "!Ref Routes"}, {"E3002", "E1020"}),
    ],
    ids=["account", "network"],
)
def test_cfn_lint_finds_what_is_wrong(
    file: Path, changes: dict[str, str], rules: set[str], tmp_path: Path
) -> None:
    text = file.read_text(encoding="utf-8")
    for good, bad in changes.items():
        assert good in text
        text = text.replace(good, bad)
    worse = tmp_path / file.name
    worse.write_text(text, encoding="utf-8")
    assert rules <= {found.rule.id for found in lint_file(worse)}


def risks(document: dict[str, Any]) -> dict[str, Any]:
    """Return what cloudsplaining finds."""
    scanned = PolicyDocument(deepcopy(document))
    return {name: found for name in RISKS if (found := getattr(scanned, name))}


@pytest.mark.parametrize("name", IDENTITY)
def test_cloudsplaining_finds_nothing(name: str) -> None:
    assert risks(IDENTITY[name]) == {}


WORSE: Final[dict[str, Callable[[list[dict[str, Any]]], object]]] = {
    "allows_data_exfiltration_actions": lambda all_: all_[0].update(Resource="*", Condition={}),
    "write_actions_without_constraints": lambda all_: all_[1].update(Resource="*", Condition={}),
    "service_wildcard": lambda all_: all_[1].update(Action="s3:*", Resource="*", Condition={}),
    "permissions_management_without_constraints": lambda all_: all_.append(
        {"Effect": "Allow", "Action": "s3:PutBucketPolicy", "Resource": "*"}
    ),
    "allows_privilege_escalation": lambda all_: all_.append(
        {"Effect": "Allow", "Action": ["iam:AttachRolePolicy", "iam:PassRole"], "Resource": "*"}
    ),
    "contains_statement_using_not_action": lambda all_: all_.append(
        {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}
    ),
}


@pytest.mark.parametrize("risk", WORSE)
def test_cloudsplaining_finds_what_is_wrong(risk: str) -> None:
    document = deepcopy(IDENTITY["ExecutionRole.job"])
    WORSE[risk](document["Statement"])
    assert risk in risks(document)


def words() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each action that a policy names, where, and with which conditions."""
    for name, document in policies().items():
        for statement in document["Statement"]:
            said = statement["Action"]
            for action in said if isinstance(said, list) else [said]:
                if not action.endswith("*"):
                    yield action, name, statement


def unknown(action: str, statement: dict[str, Any]) -> Iterator[str]:
    """Yield what AWS does not know of an action: itself, its resources, its conditions."""
    service, _, name = action.partition(":")
    data = get_action_data(service, name)
    if not data:
        yield action
        return
    known = data[service]
    keys = {key.partition("/")[0] for one in known for key in one["condition_keys"]}
    for condition in statement.get("Condition", {}).values():
        for key in condition:
            if key not in EVERYWHERE and key.partition("/")[0] not in keys and "oidc" not in key:
                yield f"{action} {key}"
    formats = [one["resource_arn_format"] for one in known if one["resource_arn_format"] != "*"]
    said = statement.get("Resource", "*")
    asked = said if isinstance(said, list) else [said]
    if formats and not any(overlap(one, VARIABLE.sub("*", of)) for one in asked for of in formats):
        yield f"{action} {said}"


@cache
def overlap(one: str, other: str) -> bool:
    """Whether a text can match two patterns with ``*`` at once."""
    if not one or not other:
        return not (one + other).strip("*")
    if one[0] == "*":
        return overlap(one[1:], other) or overlap(one, other[1:])
    if other[0] == "*":
        return overlap(other, one)
    return one[0] == other[0] and overlap(one[1:], other[1:])


def test_every_action_is_one_and_knows_its_resources_and_conditions() -> None:
    assert [fault for action, _, statement in words() for fault in unknown(action, statement)] == []


@pytest.mark.parametrize(
    ("action", "more"),
    [
        ("s3:GetObjects", {}),
        ("s3:GetObject", {"Resource": "arn:aws:s3:::bucket"}),
        ("s3:ListBucket", {"Resource": "arn:aws:kms:eu-west-1:1:key/1"}),
        ("kms:Decrypt", {"Condition": {"StringEquals": {"s3:TlsVersion": "1.2"}}}),
        (
            "emr-containers:CancelJobRun",
            {"Condition": {"StringEquals": {"emr-containers:ExecutionRoleArn": "x"}}},
        ),
    ],
)
def test_a_word_that_aws_does_not_know_is_found(action: str, more: dict[str, Any]) -> None:
    assert list(unknown(action, {"Resource": "*", **more}))
