"""Who may become the job's role: the service accounts that EMR makes in one namespace of one cluster.

The statement is written by ``aws emr-containers update-role-trust-policy``; here it is recognised, so that
``cluster.sh`` does not have to believe the command, and removed once its cluster is gone.
"""

from collections.abc import Iterator
from typing import Any, Final

WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"
DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def base36(text: str) -> str:
    """Write a text's bytes, as one big-endian number, to the base of 36, as EMR does with a role's name."""
    number = int.from_bytes(text.encode(), "big")
    digits = ""
    while number:
        number, digit = divmod(number, len(DIGITS))
        digits = DIGITS[digit] + digits
    return digits or DIGITS[0]


def subject(namespace: str, account: str, role: str) -> str:
    """Return the service accounts that EMR makes for a role's runs, as a pattern.

    Source: EMR on EKS Development Guide, job execution role; the stars are the pod's part in the run and the
    id of the virtual cluster.
    """
    return f"system:serviceaccount:{namespace}:emr-containers-sa-*-*-{account}-{base36(role)}"


def is_trusted(document: dict[str, Any], provider: str, wanted: str) -> bool:
    """Tell whether a trust policy lets a subject in, by an identity provider's ARN."""
    return any(
        _provider(one) == provider and list(_subjects(one)) == [wanted] for one in _web_identities(document)
    )


def without_strays(document: dict[str, Any], provider: str | None, wanted: str) -> dict[str, Any] | None:
    """Return a trust policy without the statements for this subject by other providers than the one given.

    They are of clusters that are gone. They let nobody in, but a policy takes 2,048 characters and each of
    them needs some 400. None if there is nothing to remove, or nothing would be left.
    """
    statements = _statements(document)
    strays = [
        one
        for one in _web_identities(document)
        if _provider(one) != provider and list(_subjects(one)) == [wanted]
    ]
    kept = [one for one in statements if one not in strays]
    return {**document, "Statement": kept} if strays and kept else None


def _statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    found = document.get("Statement", [])
    return [found] if isinstance(found, dict) else list(found)


def _web_identities(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for one in _statements(document):
        if one.get("Effect") == "Allow" and one.get("Action") in (WEB_IDENTITY, [WEB_IDENTITY]):
            yield one


def _provider(statement: dict[str, Any]) -> str:
    principal = statement.get("Principal")
    return str(principal.get("Federated", "")) if isinstance(principal, dict) else ""


def _subjects(statement: dict[str, Any]) -> Iterator[str]:
    """Yield the subjects that a statement names, by whatever condition."""
    for condition in statement.get("Condition", {}).values():
        for key, value in condition.items():
            if key.endswith(":sub"):
                yield from [value] if isinstance(value, str) else value
