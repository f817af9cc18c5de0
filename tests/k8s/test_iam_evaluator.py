"""The evaluator of policies answers as AWS documents, and refuses unknown parts."""

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


def statement(effect: str = "Allow", action: Any = "s3:GetObject", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": "*", **more}


def get(who: Principal = ROLE, action: str = "s3:GetObject", of: str = OBJECT) -> Request:
    return Request(who, action, of, ACCOUNT)


def test_nothing_is_allowed_without_a_word_and_a_deny_anywhere_wins() -> None:
    allow, deny, on_resource = (
        policy(statement()),
        policy(statement("Deny")),
        policy(statement("Deny", Principal="*")),
    )
    assert decide(get(), []) is DENIED
    assert decide(get(), [policy(statement(Resource="arn:aws:s3:::other/*"))]) is DENIED
    assert decide(get(), [allow]) is ALLOWED
    assert decide(get(action="S3:getobject"), [allow]) is ALLOWED, "actions have no case"
    assert decide(get(), [allow, deny]) is FORBIDDEN
    assert decide(get(), [allow], resource=on_resource) is FORBIDDEN
    assert decide(get(), [allow], endpoint=on_resource) is FORBIDDEN


def test_within_an_account_one_policy_is_enough_and_between_accounts_both_must_allow() -> None:
    own, root = policy(statement()), policy(statement(Principal=ROOT))
    assert decide(get(), [], resource=policy(statement(Principal={"AWS": ROLE.arn}))) is ALLOWED
    assert decide(get(), [], resource=root) is DENIED, "that leaves it to IAM"
    assert decide(get(), [own], resource=root) is ALLOWED
    other = Principal("arn:aws:iam::999988887777:role/one", "999988887777")
    on_resource = policy(statement(Principal={"AWS": other.arn}))
    assert decide(get(other), [own]) is DENIED
    assert decide(get(other), [], resource=on_resource) is DENIED
    assert decide(get(other), [own], resource=on_resource) is ALLOWED


@pytest.mark.parametrize(
    ("action", "resource"),
    [("kms:Decrypt", f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1"), ("sts:AssumeRole", ROLE.arn)],
)
def test_a_key_and_a_role_must_leave_the_decision_to_the_account(action: str, resource: str) -> None:
    own, leaves = policy(statement(action=action)), policy(statement(action=action, Principal=ROOT))
    silent = policy(statement(action=action, Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/other"}))
    assert decide(get(action=action, of=resource), [own], resource=silent) is DENIED
    assert decide(get(action=action, of=resource), [own], resource=leaves) is ALLOWED
    assert decide(get(action=action, of=resource), [], resource=leaves) is DENIED


def test_an_endpoint_lets_through_and_gives_nothing() -> None:
    through = policy(statement(Principal="*"))
    assert decide(get(), [], endpoint=through) is DENIED
    assert decide(get(), [policy(statement())], endpoint=through) is ALLOWED
    assert decide(get(action="s3:PutObject"), [policy(statement(action="s3:*"))], endpoint=through) is DENIED


def test_a_principal_is_who_it_says() -> None:
    service = policy(statement(Principal={"Service": SERVICE.service}))
    assert decide(get(ANONYMOUS), resource=policy(statement(Principal="*"))) is ALLOWED
    assert decide(get(SERVICE), resource=service) is ALLOWED
    assert decide(get(ANONYMOUS), resource=service) is DENIED
    assert decide(get(ANONYMOUS), resource=policy(statement(Principal=ROOT))) is DENIED


@pytest.mark.parametrize(
    ("operator", "key", "value", "request_value", "holds"),
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
    operator: str, key: str, value: Any, request_value: str | None, holds: bool
) -> None:
    request = Request(
        ROLE, "s3:GetObject", OBJECT, ACCOUNT, {} if request_value is None else {key: request_value}
    )
    assert (decide(request, [policy(statement(Condition={operator: {key: value}}))]) is ALLOWED) is holds


def test_wildcards_stay_in_their_part_of_an_arn() -> None:
    assert like_arn("arn:aws:s3:::b/*", "arn:aws:s3:::b/x/y:z")
    assert not like_arn("arn:aws:s3:::b", "arn:aws:s3:::bc")
    assert not like_arn("arn:aws:logs:*:log-group:a", "arn:aws:logs:eu-west-1:1:log-group:a")
    assert not like_arn("arn:aws:logs:eu-*:1:log-group:a", "arn:aws:logs:us-east-1:1:log-group:a")


@pytest.mark.parametrize(
    "document",
    [
        policy(statement(Condition={"StringEqualsIgnoreCase": {REGION: "x"}})),
        policy(statement(Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}})),
        policy(statement(Condition={"StringEquals": {"aws:SourceArn": "${aws:PrincipalArn}"}})),
        policy(statement(NotPrincipal="*")),
        policy({"Effect": "Allow", "NotAction": "s3:GetObject", "Resource": "*"}),
        policy(statement(Principal="*")),
    ],
)
def test_what_is_not_known_is_an_error(document: dict[str, Any]) -> None:
    with pytest.raises(UnknownPolicyError):
        decide(get(), [document])
