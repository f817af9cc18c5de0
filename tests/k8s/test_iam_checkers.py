"""The templates and their policies in the eyes of cfn-lint, cloudsplaining and AWS's list of actions."""

import importlib
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from cloudsplaining.scan.policy_document import PolicyDocument
from policy_sentry.querying.actions import get_action_data

from tests.support.iam_requests import policies
from tests.support.templates import ACCOUNT, NETWORK, VARIABLE, Stack, identity_policies

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


@pytest.mark.parametrize("name", IDENTITY)
def test_cloudsplaining_finds_nothing(name: str) -> None:
    scanned = PolicyDocument(deepcopy(IDENTITY[name]))
    assert {risk: getattr(scanned, risk) for risk in RISKS if getattr(scanned, risk)} == {}


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
        ("kms:Decrypt", {"Condition": {"StringEquals": {"s3:TlsVersion": "1.2"}}}),
    ],
)
def test_a_word_that_aws_does_not_know_is_found(action: str, more: dict[str, Any]) -> None:
    assert list(unknown(action, {"Resource": "*", **more}))
