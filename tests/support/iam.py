"""A small evaluator of IAM policies, which predicts AWS's answer to a request.

It follows AWS's page on policy evaluation. An explicit deny anywhere wins. The policy of an endpoint on the
way must allow, too. Within an account one is enough: the policy on the resource, if it names the caller, or
the caller's own; between accounts both must allow. A key's policy and a role's trust come first: the caller's
own counts where they leave it to the account. An unknown operator, condition key or
element is an error, never a pass. Grants, boundaries and an organisation's policies are not followed.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any, Final

ELEMENTS: Final = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
# Condition keys that a request may carry.
KEYS: Final = {
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:RequestedRegion",
    "aws:RequestTag/project",
    "aws:RequestTag/stage",
    "aws:ResourceAccount",
    "aws:ResourceTag/project",
    "aws:ResourceTag/stage",
    "aws:SecureTransport",
    "aws:SourceAccount",
    "aws:SourceArn",
    "emr-containers:ExecutionRoleArn",
    "kms:EncryptionContext:aws:logs:arn",
    "kms:GrantIsForAWSResource",
    "kms:ViaService",
    "s3:TlsVersion",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-server-side-encryption-customer-algorithm",
}
OIDC: Final = (":sub", ":aud")  # an identity provider's keys begin with its own name
# For these actions, the caller's own policies count only if the resource's policy says so.
GUARDED: Final = ("kms:", "sts:AssumeRole")
# These need no right: AWS answers everybody with valid credentials.
FREE: Final = ("sts:GetCallerIdentity",)

Document = Mapping[str, Any]


class Decision(Enum):
    """AWS's answer."""

    ALLOWED = "allowed"
    DENIED = "denied: nothing allows it"
    FORBIDDEN = "denied: a policy says so"


class UnknownPolicyError(Exception):
    """A policy has a part that this evaluator does not know."""


@dataclass(frozen=True)
class Principal:
    """Who asks: a role or user of an account, a service, a web identity; nobody, if all are empty."""

    arn: str = ""
    account: str = ""
    service: str = ""
    federated: str = ""


ANONYMOUS: Final = Principal()


@dataclass(frozen=True)
class Request:
    """One call: who, what, on which resource of whose account, and the condition keys that come with it."""

    principal: Principal
    action: str
    resource: str
    owner: str
    context: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.context:
            _known(key)


def decide(
    request: Request,
    identity: Sequence[Document] = (),
    resource: Document | None = None,
    endpoint: Document | None = None,
) -> Decision:
    """Return AWS's answer to a request.

    Parameters
    ----------
    request : Request
        The call.
    identity : sequence of mapping
        The caller's own policies.
    resource : mapping, optional
        The policy on the bucket, the key or the role.
    endpoint : mapping, optional
        The policy of the network's endpoint that the call goes through.
    """
    identity_effects = [_effects(document, request, named=False) for document in identity]
    on_resource = _effects(resource, request, named=True) if resource else {}
    on_endpoint = _effects(endpoint, request, named=True) if endpoint else {"Allow": {"direct"}}
    if any("Deny" in effects for effects in (*identity_effects, on_resource, on_endpoint)):
        return Decision.FORBIDDEN
    if "Allow" not in on_endpoint:
        return Decision.DENIED
    grants = on_resource.get("Allow", set())
    own = request.action in FREE or any("Allow" in effects for effects in identity_effects)
    if request.principal.account not in ("", request.owner):
        return Decision.ALLOWED if own and grants else Decision.DENIED
    left_to_account = "account" in grants or not request.action.startswith(GUARDED)
    return Decision.ALLOWED if "direct" in grants or (own and left_to_account) else Decision.DENIED


def _effects(document: Document, request: Request, *, named: bool) -> dict[str, set[str]]:
    """Return the effects of the statements that apply, and whether each names the caller or its account."""
    if document.get("Version") != "2012-10-17":
        raise UnknownPolicyError(f"version {document.get('Version')}")
    effects: dict[str, set[str]] = {}
    for statement in document["Statement"]:
        if unknown := set(statement) - ELEMENTS:
            raise UnknownPolicyError(f"element {', '.join(sorted(unknown))}")
        if ("Principal" in statement) != named:
            raise UnknownPolicyError("a principal stands in policies on resources, and there alone")
        grant = _principal(statement["Principal"], request.principal) if named else "direct"
        if grant and _applies(statement, request):
            effects.setdefault(statement["Effect"], set()).add(grant)
    return effects


def _principal(element: Any, caller: Principal) -> str:
    """Return how a statement names the caller: "direct", by its "account", or not at all ("")."""
    if element == "*":
        return "direct"
    ((principal_type, names),) = element.items()
    for name in _list(names):
        match principal_type:
            case "AWS" if name == "*" or (caller.arn and name == caller.arn):
                return "direct"
            case "AWS" if caller.account and name == f"arn:aws:iam::{caller.account}:root":
                return "account"
            case "Service" if caller.service and name == caller.service:
                return "direct"
            case "Federated" if caller.federated and name == caller.federated:
                return "direct"
            case "AWS" | "Service" | "Federated":
                continue
            case _:
                raise UnknownPolicyError(f"principal {principal_type}")
    return ""


def _applies(statement: Document, request: Request) -> bool:
    action = any(like(name.lower(), request.action.lower()) for name in _list(statement["Action"]))
    # A trust policy names no resource: it stands on the role that is meant.
    resource = any(like_arn(name, request.resource) for name in _list(statement.get("Resource", "*")))
    # All conditions are evaluated, so that an unknown one is always found.
    held = [
        _holds(operator, key, [str(value) for value in _list(values)], request.context)
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    ]
    return action and resource and all(held)


def _holds(operator: str, key: str, values: list[str], context: Mapping[str, str]) -> bool:
    _known(key)
    if any("${" in value for value in values):
        raise UnknownPolicyError(f"policy variable in {values}")
    if operator == "Null":
        return values == [str(key not in context).lower()]
    if operator not in OPERATORS:
        raise UnknownPolicyError(f"operator {operator}")
    matches, negated = OPERATORS[operator]
    if key not in context:
        return negated  # as documented: a negated operator holds for a key that is missing
    return any(matches(value, context[key]) for value in values) != negated


def _known(key: str) -> None:
    if key not in KEYS and not key.endswith(OIDC):
        raise UnknownPolicyError(f"condition key {key}")


@cache
def like(pattern: str, text: str) -> bool:
    """Compare with wildcards: ``*`` is any text, ``?`` any character."""
    parts = (
        ".*" if character == "*" else "." if character == "?" else re.escape(character)
        for character in pattern
    )
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def like_arn(pattern: str, arn: str) -> bool:
    """Compare ARNs part by part: a wildcard in one part does not reach into the next."""
    if pattern == "*":
        return True
    pattern_parts, arn_parts = pattern.split(":", 5), arn.split(":", 5)
    return len(pattern_parts) == len(arn_parts) == 6 and all(map(like, pattern_parts, arn_parts))


# How an operator compares a policy's value with a request's, and whether it is a negated one.
OPERATORS: Final[dict[str, tuple[Callable[[str, str], bool], bool]]] = {
    "StringEquals": (lambda policy_value, request_value: policy_value == request_value, False),
    "StringNotEquals": (lambda policy_value, request_value: policy_value == request_value, True),
    "StringLike": (like, False),
    "ArnEquals": (like_arn, False),  # AWS treats both alike
    "ArnLike": (like_arn, False),
    "Bool": (lambda policy_value, request_value: policy_value.lower() == request_value.lower(), False),
    "NumericLessThan": (
        lambda policy_value, request_value: float(request_value) < float(policy_value),
        False,
    ),
}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
