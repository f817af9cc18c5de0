"""The evaluator of policies answers as AWS documents it, and refuses what it does not know."""

from typing import Any, Final

import pytest

from tests.support.iam import ANONYMOUS, Decision, Principal, Request, UnknownPolicyError, decide, like_arn

ACCOUNT: Final = "111122223333"
ROLE: Final = Principal(f"arn:aws:iam::{ACCOUNT}:role/one", ACCOUNT)
SERVICE: Final = Principal(service="logging.s3.amazonaws.com")
OBJECT: Final = "arn:aws:s3:::bucket/photos/a"
ROOT: Final = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
REGION: Final = "aws:RequestedRegion"
ALLOWED, DENIED, FORBIDDEN = Decision.ALLOWED, Decision.DENIED, Decision.FORBIDDEN


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def says(effect: str = "Allow", action: Any = "s3:GetObject", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": "*", **more}


def get(who: Principal = ROLE, action: str = "s3:GetObject", of: str = OBJECT) -> Request:
    return Request(who, action, of, ACCOUNT)


def test_nothing_is_allowed_without_a_word_and_a_deny_anywhere_wins() -> None:
    allow, deny, on_resource = policy(says()), policy(says("Deny")), policy(says("Deny", Principal="*"))
    assert decide(get(), []) is DENIED
    assert decide(get(), [policy(says(Resource="arn:aws:s3:::other/*"))]) is DENIED
    assert decide(get(), [allow]) is ALLOWED
    assert decide(get(action="S3:getobject"), [allow]) is ALLOWED, "actions have no case"
    assert decide(get(), [allow, deny]) is FORBIDDEN
    assert decide(get(), [allow], resource=on_resource) is FORBIDDEN
    assert decide(get(), [allow], endpoint=on_resource) is FORBIDDEN


def test_within_an_account_one_policy_is_enough_and_between_accounts_both_must_allow() -> None:
    mine, root = policy(says()), policy(says(Principal=ROOT))
    assert decide(get(), [], resource=policy(says(Principal={"AWS": ROLE.arn}))) is ALLOWED
    assert decide(get(), [], resource=root) is DENIED, "that leaves it to IAM"
    assert decide(get(), [mine], resource=root) is ALLOWED
    other = Principal("arn:aws:iam::999988887777:role/one", "999988887777")
    theirs = policy(says(Principal={"AWS": other.arn}))
    assert decide(get(other), [mine]) is DENIED
    assert decide(get(other), [], resource=theirs) is DENIED
    assert decide(get(other), [mine], resource=theirs) is ALLOWED


@pytest.mark.parametrize(
    ("action", "resource"),
    [("kms:Decrypt", f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1"), ("sts:AssumeRole", ROLE.arn)],
)
def test_a_key_and_a_role_must_leave_the_decision_to_the_account(action: str, resource: str) -> None:
    mine, leaves = policy(says(action=action)), policy(says(action=action, Principal=ROOT))
    silent = policy(says(action=action, Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/other"}))
    assert decide(get(action=action, of=resource), [mine], resource=silent) is DENIED
    assert decide(get(action=action, of=resource), [mine], resource=leaves) is ALLOWED
    assert decide(get(action=action, of=resource), [], resource=leaves) is DENIED


def test_an_endpoint_lets_through_and_gives_nothing() -> None:
    through = policy(says(Principal="*"))
    assert decide(get(), [], endpoint=through) is DENIED
    assert decide(get(), [policy(says())], endpoint=through) is ALLOWED
    assert decide(get(action="s3:PutObject"), [policy(says(action="s3:*"))], endpoint=through) is DENIED


def test_a_principal_is_who_it_says() -> None:
    service = policy(says(Principal={"Service": SERVICE.service}))
    assert decide(get(ANONYMOUS), resource=policy(says(Principal="*"))) is ALLOWED
    assert decide(get(SERVICE), resource=service) is ALLOWED
    assert decide(get(ANONYMOUS), resource=service) is DENIED
    assert decide(get(ANONYMOUS), resource=policy(says(Principal=ROOT))) is DENIED


@pytest.mark.parametrize(
    ("operator", "key", "value", "given", "holds"),
    [
        ("StringEquals", REGION, ["eu-west-1", "eu-west-3"], "eu-west-3", True),
        ("StringEquals", REGION, "eu-*", "eu-west-1", False),
        ("StringEquals", REGION, "eu-west-1", None, False),
        ("StringLike", REGION, "eu-*", "eu-west-1", True),
        ("StringNotEquals", REGION, ["eu-west-1", "eu-west-3"], "eu-west-3", False),
        ("StringNotEquals", REGION, "eu-west-1", None, True),  # a negated one holds for a key that is missing
        ("Bool", "aws:SecureTransport", "false", "false", True),
        ("NumericLessThan", "s3:TlsVersion", "1.2", "1.1", True),
        ("NumericLessThan", "s3:TlsVersion", "1.2", "1.2", False),
        ("ArnLike", "aws:SourceArn", "arn:aws:s3:::fruits-*", "arn:aws:s3:::fruits-dev", True),
        ("ArnEquals", "aws:SourceArn", "arn:aws:s3:::fruits-*", "arn:aws:s3:::website", False),
        ("Null", REGION, "true", None, True),
        ("Null", REGION, "false", None, False),
    ],
)
def test_conditions_compare_as_documented(
    operator: str, key: str, value: Any, given: str | None, holds: bool
) -> None:
    request = Request(ROLE, "s3:GetObject", OBJECT, ACCOUNT, {} if given is None else {key: given})
    assert (decide(request, [policy(says(Condition={operator: {key: value}}))]) is ALLOWED) is holds


def test_wildcards_stay_in_their_part_of_an_arn() -> None:
    assert like_arn("arn:aws:s3:::b/*", "arn:aws:s3:::b/x/y:z")
    assert not like_arn("arn:aws:s3:::b", "arn:aws:s3:::bc")
    assert not like_arn("arn:aws:logs:*:log-group:a", "arn:aws:logs:eu-west-1:1:log-group:a")
    assert not like_arn("arn:aws:logs:eu-*:1:log-group:a", "arn:aws:logs:us-east-1:1:log-group:a")


@pytest.mark.parametrize(
    "document",
    [
        policy(says(Condition={"StringEqualsIgnoreCase": {REGION: "x"}})),
        policy(says(Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}})),
        policy(says(Condition={"StringEquals": {"aws:SourceArn": "${aws:PrincipalArn}"}})),
        policy(says(NotPrincipal="*")),
        policy({"Effect": "Allow", "NotAction": "s3:GetObject", "Resource": "*"}),
        policy(says(Principal="*")),
    ],
)
def test_what_is_not_known_is_an_error(document: dict[str, Any]) -> None:
    with pytest.raises(UnknownPolicyError):
        decide(get(), [document])
