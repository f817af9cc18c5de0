"""The table's answers hold, and each part of the policies is needed."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

import pytest

from tests.support.iam import Decision
from tests.support.iam_requests import ANYTHING, Row, answer, policies, rows
from tests.support.iam_table import TABLE
from tests.support.templates import ACCOUNT, NETWORK, Stack, identity_policies

POLICIES: Final = policies()
WRITTEN: Final = tuple(rows(TABLE))
UPLOADS: Final = tuple(
    f"admin s3:PutObject {bucket}/x {how}"
    for bucket in ("photos", "results", "logs")
    for how in (
        "allowed",
        "sse=aws:kms kms-key=key allowed",
        "sse=aws:kms kms-key=another-key forbidden",
        "sse=aws:kms forbidden",  # S3 would use the account's key
        "sse=AES256 forbidden",
        "their-own-key=AES256 forbidden",
    )
)
PUT_AWAY: Final = tuple(
    f"admin {action} {bucket} {answer}"
    for bucket in ("photos", "results", "logs")
    for action, answer in (
        ("s3:PutReplicationConfiguration", "forbidden"),
        ("s3:PutLifecycleConfiguration", "allowed"),
    )
)
BY_TLS: Final = tuple(
    f"admin {action} {bucket} {how} forbidden"
    for bucket in ("photos", "results", "logs", "audit")
    for action, path in (("s3:ListBucket", ""), ("s3:GetObject", "/a"), ("s3:PutObject", "/a"))
    for how in ("http", "tls=1.1")
    for bucket in [f"{bucket}{path}"]
)


def elsewhere() -> Iterator[Row]:
    """Yield the allowed requests of the job and submitters, in another region or of the other stage."""
    for row in WRITTEN:
        if row.answer is not Decision.ALLOWED or row.who not in ("job", "submitter", "flow-log"):
            continue
        if "via=s3.eu-west-1.amazonaws.com" not in row.how and row.action != "sts:GetCallerIdentity":
            yield row.with_("region=us-east-1")._replace(answer=Decision.DENIED)
        if "stage=dev" in row.how:
            yield row.with_("stage=prod")._replace(answer=Decision.DENIED)
        if "new-stage=dev" in row.how:
            yield row.with_("new-stage=prod")._replace(answer=Decision.DENIED)


ROWS: Final = (*WRITTEN, *rows("\n".join((*UPLOADS, *PUT_AWAY, *BY_TLS))), *elsewhere())


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_aws_would_answer_as_the_table_says(row: Row) -> None:
    assert answer(row, POLICIES) is row.answer


def test_the_table_asks_each_question_once() -> None:
    questions = [str(row) for row in ROWS]
    assert sorted(questions) == sorted(set(questions))


def test_a_stage_has_no_right_in_the_other() -> None:
    """The other stage's policies allow no request that names this stage."""
    prod: dict[str, Any] = {"anything": ANYTHING, **dict(identity_policies(Stack(ACCOUNT, Stage="prod")))}
    allowed_rows = [
        row for row in WRITTEN if row.who in ("job", "submitter") and row.answer is Decision.ALLOWED
    ]
    granted = {str(row) for row in allowed_rows if answer(row, {**POLICIES, **prod}) is Decision.ALLOWED}
    of_no_stage = {"groups", "every", "key"}  # a key's ARN does not say whose it is: each stage has its own
    assert {line.split()[2] for line in granted} == of_no_stage


def changed(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a policy without one of its statements, actions, resources or conditions, and the part's name."""
    for number, statement in enumerate(document["Statement"]):
        less = deepcopy(document)
        del less["Statement"][number]
        yield statement["Sid"], less
        for element in ("Action", "Resource"):
            values = statement.get(element)
            for value in values if isinstance(values, list) and len(values) > 1 else ():
                less = deepcopy(document)
                less["Statement"][number][element].remove(value)
                yield f"{statement['Sid']} {value}", less
        for operator, keys in statement.get("Condition", {}).items():
            for key in keys:
                less = deepcopy(document)
                del less["Statement"][number]["Condition"][operator][key]
                yield f"{statement['Sid']} {key}", less


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"anything", "open", "EcrDkrEndpoint"}))
def test_every_word_of_a_policy_is_held_by_a_row(name: str) -> None:
    rows_of_policy = [row for row in ROWS if name in row.policies()]
    needless = [
        lacking
        for lacking, document in changed(POLICIES[name])
        if all(answer(row, {**POLICIES, name: document}) is row.answer for row in rows_of_policy)
    ]
    assert not needless


def test_both_doors_to_ecr_have_one_policy() -> None:
    assert POLICIES["EcrDkrEndpoint"] == POLICIES["EcrApiEndpoint"]


def test_no_policy_is_longer_than_iam_takes() -> None:
    for name, document in identity_policies(Stack(ACCOUNT)):
        counted = json.dumps(document, separators=(",", ":"))
        assert len(counted) <= (6144 if name == "SubmitPolicy" else 10240), name


def test_the_network_has_no_rights_but_its_flow_log() -> None:
    assert [name for name, _ in identity_policies(Stack(NETWORK))] == ["FlowLogRole.write"]
