"""cfn-lint, cloudsplaining and AWS's list of actions accept the templates and policies."""

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

lint_file: Final = importlib.import_module("cfnlint.api").lint_file  # it has no types
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
# Keys of every request, or of every request to their service; the lists of actions omit them.
EVERYWHERE: Final = {
    *(
        "aws:PrincipalArn",
        "aws:PrincipalAccount",
        "aws:RequestedRegion",
        "aws:ResourceAccount",
        "aws:SecureTransport",
    ),
    *("aws:SourceAccount", "aws:SourceArn", "kms:EncryptionContext:aws:logs:arn"),
}


@pytest.mark.parametrize("file", [ACCOUNT, NETWORK], ids=lambda file: str(file.name))
def test_cfn_lint_finds_nothing(file: Path) -> None:
    assert [str(match) for match in lint_file(file)] == []


@pytest.mark.parametrize("name", IDENTITY)
def test_cloudsplaining_finds_nothing(name: str) -> None:
    scanned = PolicyDocument(deepcopy(IDENTITY[name]))
    assert {risk: getattr(scanned, risk) for risk in RISKS if getattr(scanned, risk)} == {}


def words() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each action in a policy, the policy's name, and the statement."""
    for name, document in policies().items():
        for statement in document["Statement"]:
            actions = statement["Action"]
            for action in actions if isinstance(actions, list) else [actions]:
                if not action.endswith("*"):
                    yield action, name, statement


def unknown(action: str, statement: dict[str, Any]) -> Iterator[str]:
    """Yield the action, resources and conditions that AWS does not know."""
    service, _, name = action.partition(":")
    data = get_action_data(service, name)
    if not data:
        yield action
        return
    entries = data[service]
    keys = {key.partition("/")[0] for entry in entries for key in entry["condition_keys"]}
    for condition in statement.get("Condition", {}).values():
        for key in condition:
            if key not in EVERYWHERE and key.partition("/")[0] not in keys and "oidc" not in key:
                yield f"{action} {key}"
    formats = [entry["resource_arn_format"] for entry in entries if entry["resource_arn_format"] != "*"]
    resources = statement.get("Resource", "*")
    patterns = resources if isinstance(resources, list) else [resources]
    if formats and not any(
        overlap(pattern, VARIABLE.sub("*", arn_format)) for pattern in patterns for arn_format in formats
    ):
        yield f"{action} {resources}"


@cache
def overlap(left: str, right: str) -> bool:
    """Tell whether a text can match two patterns with ``*`` at once."""
    if not left or not right:
        return not (left + right).strip("*")
    if left[0] == "*":
        return overlap(left[1:], right) or overlap(left, right[1:])
    if right[0] == "*":
        return overlap(right, left)
    return left[0] == right[0] and overlap(left[1:], right[1:])


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
