"""The evaluator of policies answers as AWS documents it, and refuses what it does not know."""

from typing import Any

import pytest

from tests.iam import (
    ANONYMOUS,
    Decision,
    Principal,
    Request,
    UnknownPolicyError,
    decide,
    like,
    like_arn,
)

ACCOUNT = "111122223333"
ROLE = Principal(f"arn:aws:iam::{ACCOUNT}:role/one", ACCOUNT)
SERVICE = Principal(service="logging.s3.amazonaws.com")
OBJECT = "arn:aws:s3:::bucket/photos/a"
KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1"
ROOT = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
ALLOWED, DENIED, FORBIDDEN = Decision.ALLOWED, Decision.DENIED, Decision.FORBIDDEN


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def says(effect: str = "Allow", action: Any = "s3:GetObject", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": "*", **more}


def get(who: Principal = ROLE, action: str = "s3:GetObject", of: str = OBJECT, **context: str) -> Request:
    keys = {name.replace("__", ":").replace("_", "-"): value for name, value in context.items()}
    return Request(who, action, of, ACCOUNT, keys)


def held(condition: dict[str, Any], context: dict[str, str]) -> bool:
    document = policy(says(Condition=condition))
    return decide(Request(ROLE, "s3:GetObject", OBJECT, ACCOUNT, context), [document]) is ALLOWED


def test_nothing_is_allowed_without_a_word() -> None:
    assert decide(get(), []) is DENIED
    assert decide(get(), [policy(says(action="s3:PutObject"))]) is DENIED
    assert decide(get(), [policy(says(Resource="arn:aws:s3:::other/*"))]) is DENIED


def test_a_deny_anywhere_wins() -> None:
    allow, deny = policy(says()), policy(says("Deny"))
    on_resource = policy(says("Deny", Principal="*"))
    assert decide(get(), [allow]) is ALLOWED
    assert decide(get(), [allow, deny]) is FORBIDDEN
    assert decide(get(), [allow], resource=on_resource) is FORBIDDEN
    assert decide(get(), [allow], endpoint=on_resource) is FORBIDDEN
    assert decide(get(), [allow], resource=policy(says("Deny", Principal=ROOT))) is FORBIDDEN


def test_within_an_account_one_policy_is_enough() -> None:
    named = policy(says(Principal={"AWS": ROLE.arn}))
    assert decide(get(), [], resource=named) is ALLOWED
    assert decide(get(), [], resource=policy(says(Principal=ROOT))) is DENIED, "that leaves it to IAM"
    assert decide(get(), [policy(says())], resource=policy(says(Principal=ROOT))) is ALLOWED


def test_between_accounts_both_must_allow() -> None:
    other = Principal("arn:aws:iam::999988887777:role/one", "999988887777")
    mine, theirs = policy(says()), policy(says(Principal={"AWS": other.arn}))
    assert decide(get(other), [mine]) is DENIED
    assert decide(get(other), [], resource=theirs) is DENIED
    assert decide(get(other), [mine], resource=theirs) is ALLOWED


def test_a_key_and_a_role_must_leave_the_decision_to_the_account() -> None:
    mine = policy(says(action=["kms:Decrypt", "sts:AssumeRole"]))
    for action, resource in (("kms:Decrypt", KEY), ("sts:AssumeRole", ROLE.arn)):
        silent = policy(says(action=action, Principal={"AWS": "arn:aws:iam::111122223333:role/other"}))
        leaves = policy(says(action=action, Principal=ROOT))
        asked = get(action=action, of=resource)
        assert decide(asked, [mine], resource=silent) is DENIED
        assert decide(asked, [mine], resource=leaves) is ALLOWED
        assert decide(asked, [], resource=leaves) is DENIED


def test_an_endpoint_lets_through_and_gives_nothing() -> None:
    through = policy(says(Principal="*"))
    assert decide(get(), [], endpoint=through) is DENIED
    assert decide(get(), [policy(says())], endpoint=through) is ALLOWED
    assert decide(get(action="s3:PutObject"), [policy(says(action="s3:*"))], endpoint=through) is DENIED


def test_a_principal_is_who_it_says() -> None:
    everybody, service = policy(says(Principal="*")), policy(says(Principal={"Service": SERVICE.service}))
    assert decide(get(ANONYMOUS), resource=everybody) is ALLOWED
    assert decide(get(SERVICE), resource=service) is ALLOWED
    assert decide(get(ANONYMOUS), resource=service) is DENIED
    assert decide(get(ANONYMOUS), resource=policy(says(Principal=ROOT))) is DENIED
    assert (
        decide(get(), resource=policy(says(Principal={"AWS": ["arn:aws:iam::1:root", ROLE.arn]}))) is ALLOWED
    )


def test_conditions_compare_as_documented() -> None:
    region = "aws:RequestedRegion"
    assert held({"StringEquals": {region: ["eu-west-1", "eu-west-3"]}}, {region: "eu-west-3"})
    assert not held({"StringEquals": {region: "eu-west-1"}}, {region: "EU-WEST-1"})
    assert not held({"StringEquals": {region: "eu-*"}}, {region: "eu-west-1"}), "no wildcards here"
    assert held({"StringLike": {region: "eu-*"}}, {region: "eu-west-1"})
    assert not held({"StringNotEquals": {region: ["eu-west-1", "eu-west-3"]}}, {region: "eu-west-3"})
    assert held({"Bool": {"aws:SecureTransport": "false"}}, {"aws:SecureTransport": "false"})
    assert held({"NumericLessThan": {"s3:TlsVersion": "1.2"}}, {"s3:TlsVersion": "1.1"})
    assert not held({"NumericLessThan": {"s3:TlsVersion": "1.2"}}, {"s3:TlsVersion": "1.2"})
    both = {"StringEquals": {region: "eu-west-1"}, "Bool": {"aws:SecureTransport": "true"}}
    assert not held(both, {region: "eu-west-1", "aws:SecureTransport": "false"})
    arn = "arn:aws:s3:::fruits-*"
    assert held({"ArnLike": {"aws:SourceArn": arn}}, {"aws:SourceArn": "arn:aws:s3:::fruits-dev"})
    assert not held({"ArnEquals": {"aws:SourceArn": arn}}, {"aws:SourceArn": "arn:aws:s3:::website"})


def test_a_key_that_is_missing_holds_for_negated_operators_only() -> None:
    region = "aws:RequestedRegion"
    for operator in ("StringEquals", "StringLike", "ArnLike", "Bool", "NumericLessThan"):
        assert not held({operator: {region: "1"}}, {})
    assert held({"StringNotEquals": {region: "eu-west-1"}}, {})
    assert held({"Null": {region: "true"}}, {})
    assert not held({"Null": {region: "false"}}, {})
    assert held({"Null": {region: "false"}}, {region: "eu-west-1"})


def test_wildcards_stay_in_their_part_of_an_arn() -> None:
    assert like("s3:get*", "s3:getobject") and like("a?c", "abc") and not like("a?c", "ac")
    assert like_arn("arn:aws:s3:::b/*", "arn:aws:s3:::b/x/y:z")
    assert not like_arn("arn:aws:s3:::b", "arn:aws:s3:::bc")
    assert not like_arn("arn:aws:logs:*:log-group:a", "arn:aws:logs:eu-west-1:1:log-group:a")
    assert not like_arn("arn:aws:logs:eu-*:1:log-group:a", "arn:aws:logs:us-east-1:1:log-group:a")
    assert like_arn("*", "anything")
    assert decide(get(action="S3:getobject"), [policy(says())]) is ALLOWED, "actions have no case"


@pytest.mark.parametrize(
    "document",
    [
        policy(says(Condition={"StringEqualsIgnoreCase": {"aws:RequestedRegion": "x"}})),
        policy(says(Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}})),
        policy(says(Condition={"StringEquals": {"aws:SourceArn": "${aws:PrincipalArn}"}})),
        policy(says(action="s3:PutObject", Condition={"DateLessThan": {"aws:RequestedRegion": "x"}})),
        policy(says(NotPrincipal="*")),
        policy({"Effect": "Allow", "NotAction": "s3:GetObject", "Resource": "*"}),
        policy(says(Principal="*")),
        {"Version": "2008-10-17", "Statement": [says()]},
    ],
)
def test_what_is_not_known_is_an_error(document: dict[str, Any]) -> None:
    with pytest.raises(UnknownPolicyError):
        decide(get(), [document])


def test_a_principal_of_a_kind_that_is_not_known_is_an_error() -> None:
    with pytest.raises(UnknownPolicyError):
        decide(get(), resource=policy(says(Principal={"CanonicalUser": "1"})))
    with pytest.raises(UnknownPolicyError):
        decide(get(), resource=policy(says()))
    with pytest.raises(UnknownPolicyError):
        get(aws__Nonsense="1")
