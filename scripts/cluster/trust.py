"""The trust policy of the job's role: EMR's service accounts in one namespace of one cluster may assume it.

``aws emr-containers update-role-trust-policy`` adds the statement. This module finds it, so that
``cluster.sh`` can check the command's result, and removes it once its cluster is deleted.
"""

from collections.abc import Iterator
from typing import Any, Final

WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"
DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def base36(text: str) -> str:
    """Encode a text's bytes, as one big-endian number, in base 36, as EMR encodes a role's name."""
    number = int.from_bytes(text.encode(), "big")
    digits = ""
    while number:
        number, digit = divmod(number, len(DIGITS))
        digits = DIGITS[digit] + digits
    return digits or DIGITS[0]


def subject(namespace: str, account: str, role: str) -> str:
    """Return the pattern of the service accounts that EMR creates for a role's runs.

    Source: EMR on EKS Development Guide, job execution role. The stars stand for the pod's role in the run
    and the virtual cluster's id.
    """
    return f"system:serviceaccount:{namespace}:emr-containers-sa-*-*-{account}-{base36(role)}"


def is_trusted(document: dict[str, Any], provider: str, subject: str) -> bool:
    """Tell whether a trust policy lets a subject of an identity provider, given by ARN, assume the role."""
    return any(
        _provider(statement) == provider and list(_subjects(statement)) == [subject]
        for statement in _web_identities(document)
    )


def without_stale_statements(
    document: dict[str, Any], provider: str | None, subject: str
) -> dict[str, Any] | None:
    """Return a trust policy without the statements for this subject from any other provider.

    Those belong to deleted clusters and let nobody in, but each takes some 400 of a policy's 2,048
    characters. None if there is nothing to remove, or no statement would remain.
    """
    statements = _statements(document)
    stale = [
        statement
        for statement in _web_identities(document)
        if _provider(statement) != provider and list(_subjects(statement)) == [subject]
    ]
    remaining = [statement for statement in statements if statement not in stale]
    return {**document, "Statement": remaining} if stale and remaining else None


def _statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    statements = document.get("Statement", [])
    return [statements] if isinstance(statements, dict) else list(statements)


def _web_identities(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for statement in _statements(document):
        if statement.get("Effect") == "Allow" and statement.get("Action") in (WEB_IDENTITY, [WEB_IDENTITY]):
            yield statement


def _provider(statement: dict[str, Any]) -> str:
    principal = statement.get("Principal")
    return str(principal.get("Federated", "")) if isinstance(principal, dict) else ""


def _subjects(statement: dict[str, Any]) -> Iterator[str]:
    """Yield the subjects in a statement's conditions, whatever their operator."""
    for condition in statement.get("Condition", {}).values():
        for key, value in condition.items():
            if key.endswith(":sub"):
                yield from [value] if isinstance(value, str) else value
