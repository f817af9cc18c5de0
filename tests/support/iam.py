"""A small evaluator of IAM policies, which says what AWS would answer to a request.

It follows AWS's page on policy evaluation. An explicit deny anywhere wins. The policy of an endpoint on the
way must allow, too. Within an account one is enough: the policy on the resource, if it names the caller, or
the caller's own; between accounts both must allow. A key's policy and a role's trust come first: the caller's
own counts where they leave it to the account. What is not known here (an operator, a condition's key, an
element) is an error, never a pass. Grants, boundaries and an organisation's policies are not followed.
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
    "kms:ViaService",
    "s3:TlsVersion",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-server-side-encryption-customer-algorithm",
}
OIDC: Final = (":sub", ":aud")  # an identity provider's keys begin with its own name
# Whose policies do not leave the decision to the caller's own, unless they say so.
GUARDED: Final = ("kms:", "sts:AssumeRole")
# What needs no right: AWS answers it to whoever can sign.
FREE: Final = ("sts:GetCallerIdentity",)

Document = Mapping[str, Any]


class Decision(Enum):
    """What AWS answers."""

    ALLOWED = "allowed"
    DENIED = "denied: nothing allows it"
    FORBIDDEN = "denied: a policy says so"


class UnknownPolicyError(Exception):
    """A policy says something that this evaluator does not know."""


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
    """Say what AWS would answer.

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
    asked = [_asked(document, request, named=False) for document in identity]
    on_resource = _asked(resource, request, named=True) if resource else {}
    on_endpoint = _asked(endpoint, request, named=True) if endpoint else {"Allow": {"direct"}}
    if any("Deny" in found for found in (*asked, on_resource, on_endpoint)):
        return Decision.FORBIDDEN
    if "Allow" not in on_endpoint:
        return Decision.DENIED
    how = on_resource.get("Allow", set())
    own = request.action in FREE or any("Allow" in found for found in asked)
    if request.principal.account not in ("", request.owner):
        return Decision.ALLOWED if own and how else Decision.DENIED
    left_to_account = "account" in how or not request.action.startswith(GUARDED)
    return Decision.ALLOWED if "direct" in how or (own and left_to_account) else Decision.DENIED


def _asked(document: Document, request: Request, *, named: bool) -> dict[str, set[str]]:
    """Return the effects of the statements that apply, and whether they name the caller or its account."""
    if document.get("Version") != "2012-10-17":
        raise UnknownPolicyError(f"version {document.get('Version')}")
    found: dict[str, set[str]] = {}
    for statement in document["Statement"]:
        if unknown := set(statement) - ELEMENTS:
            raise UnknownPolicyError(f"element {', '.join(sorted(unknown))}")
        if ("Principal" in statement) != named:
            raise UnknownPolicyError("a principal stands in policies on resources, and there alone")
        how = _principal(statement["Principal"], request.principal) if named else "direct"
        if how and _applies(statement, request):
            found.setdefault(statement["Effect"], set()).add(how)
    return found


def _principal(said: Any, asking: Principal) -> str:
    """Return how a statement's principal means the caller: "direct", by its "account", or not at all."""
    if said == "*":
        return "direct"
    ((kind, names),) = said.items()
    for name in _list(names):
        match kind:
            case "AWS" if name == "*" or (asking.arn and name == asking.arn):
                return "direct"
            case "AWS" if asking.account and name == f"arn:aws:iam::{asking.account}:root":
                return "account"
            case "Service" if asking.service and name == asking.service:
                return "direct"
            case "Federated" if asking.federated and name == asking.federated:
                return "direct"
            case "AWS" | "Service" | "Federated":
                continue
            case _:
                raise UnknownPolicyError(f"principal {kind}")
    return ""


def _applies(statement: Document, request: Request) -> bool:
    action = any(like(name.lower(), request.action.lower()) for name in _list(statement["Action"]))
    # A trust policy names no resource: it stands on the role that is meant.
    resource = any(like_arn(name, request.resource) for name in _list(statement.get("Resource", "*")))
    # Every condition is read, so that one which is not known is not passed by.
    held = [
        _holds(operator, key, [str(one) for one in _list(values)], request.context)
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
    parts = (".*" if one == "*" else "." if one == "?" else re.escape(one) for one in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def like_arn(pattern: str, arn: str) -> bool:
    """Compare ARNs part by part: a wildcard in one part does not reach into the next."""
    if pattern == "*":
        return True
    ours, theirs = pattern.split(":", 5), arn.split(":", 5)
    return len(ours) == len(theirs) == 6 and all(map(like, ours, theirs))


# How an operator compares a policy's value with a request's, and whether it is a negated one.
OPERATORS: Final[dict[str, tuple[Callable[[str, str], bool], bool]]] = {
    "StringEquals": (lambda said, given: said == given, False),
    "StringNotEquals": (lambda said, given: said == given, True),
    "StringLike": (like, False),
    "ArnEquals": (like_arn, False),  # AWS has both names for one thing
    "ArnLike": (like_arn, False),
    "Bool": (lambda said, given: said.lower() == given.lower(), False),
    "NumericLessThan": (lambda said, given: float(given) < float(said), False),
}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
