"""Whom the job's role lets in: as the AWS CLI writes it, and as it is read here."""

from typing import Any, Final

import pytest
from awscli.customizations.emrcontainers.base36 import Base36  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from scripts.cluster import trust

PROVIDER: Final = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/A1B2"
SUBJECT: Final = "system:serviceaccount:fruits:emr-containers-sa-*-*-111122223333-4bfx821rkad0m92ahx55cy"
NOBODY: Final = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}


def statement(provider: str = PROVIDER, subject: Any = SUBJECT, **more: Any) -> dict[str, Any]:
    key = f"{provider.partition('/')[2]}:sub"
    return {
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": trust.WEB_IDENTITY,
        "Condition": {"StringLike": {key: subject}},
        **more,
    }


def policy(*statements: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=64))
def test_a_roles_name_is_shortened_as_the_aws_cli_does(name: str) -> None:
    assert trust.base36(name) == Base36().encode(name)


@pytest.mark.parametrize(
    ("trust_statement", "is_trusted"),
    [
        (statement(), True),
        (statement(Action=[trust.WEB_IDENTITY]), True),
        (statement(subject=[SUBJECT]), True),
        (NOBODY, False),
        (statement(Effect="Deny"), False),
        (statement(provider=f"{PROVIDER}C3"), False),
        (statement(subject="system:serviceaccount:fruits:*"), False),
        (statement(subject=[SUBJECT, "*"]), False),
        (statement(Action="sts:AssumeRole"), False),
        (statement(Condition={}), False),
        (statement(Principal="*"), False),
    ],
)
def test_only_the_very_statement_is_trust(trust_statement: dict[str, Any], is_trusted: bool) -> None:
    assert trust.is_trusted(policy(NOBODY, trust_statement), PROVIDER, SUBJECT) is is_trusted


def test_a_policy_of_one_statement_may_be_no_list() -> None:
    assert trust.is_trusted({"Statement": statement()}, PROVIDER, SUBJECT)
    assert not trust.is_trusted({}, PROVIDER, SUBJECT)


def test_statements_of_clusters_that_are_gone_are_removed_and_no_others() -> None:
    gone, other = statement(provider=f"{PROVIDER}C3"), statement(subject="system:serviceaccount:other:app")
    document = policy(NOBODY, gone, other, statement())
    assert trust.without_stale_statements(document, PROVIDER, SUBJECT) == policy(NOBODY, other, statement())
    assert trust.without_stale_statements(document, None, SUBJECT) == policy(NOBODY, other)


def test_nothing_is_removed_where_nothing_is_to_be_or_nothing_would_be_left() -> None:
    assert trust.without_stale_statements(policy(NOBODY, statement()), PROVIDER, SUBJECT) is None
    assert trust.without_stale_statements(policy(statement()), None, SUBJECT) is None
