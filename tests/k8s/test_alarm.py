"""The alarm and the budget of the account's stack: only with an address, and as the services take them."""

import json
import re
from typing import Any, Final

import boto3
import botocore.session
import pytest
from botocore.validate import ParamValidator

from scripts.cloud import request_check
from tests.support.aws_emulator import Cloud
from tests.support.templates import ACCOUNT, ACCOUNT_ID, Stack

ADDRESS: Final = "ada@example.org"
ALARM: Final = {"Alarms", "AlarmsPolicy", "FailedRuns"}
STACK: Final = Stack(ACCOUNT, AlarmEmail=ADDRESS, BudgetUsd="100")


@pytest.mark.parametrize(
    ("parameters", "added"),
    [
        ({}, set()),
        ({"BudgetUsd": "100"}, set()),
        ({"AlarmEmail": ADDRESS}, ALARM),
        ({"AlarmEmail": ADDRESS, "BudgetUsd": "100"}, {*ALARM, "Budget"}),
    ],
)
def test_alarm_and_budget_exist_only_if_somebody_hears_of_them(
    parameters: dict[str, str], added: set[str]
) -> None:
    assert set(Stack(ACCOUNT, **parameters).resources) - set(Stack(ACCOUNT).resources) == added


def test_an_address_has_a_sign_in_it() -> None:
    pattern = STACK.template["Parameters"]["AlarmEmail"]["AllowedPattern"]
    assert [bool(re.fullmatch(pattern, text)) for text in ("", ADDRESS, "ada", "a b@c")] == [
        *(True, True, False, False)
    ]


def test_the_services_take_the_rule_the_topic_and_the_budget() -> None:
    (rule,), (topic,) = STACK.of_type("Events::Rule").values(), STACK.of_type("SNS::Topic").values()
    (budget,) = STACK.of_type("Budgets::Budget").values()
    pattern = json.dumps(rule["EventPattern"])
    request_check.check(
        "events", "PutRule", {"Name": rule["Name"], "EventPattern": pattern, "State": rule["State"]}
    )
    request_check.check("events", "PutTargets", {"Rule": rule["Name"], "Targets": rule["Targets"]})
    request_check.check("sns", "CreateTopic", {"Name": topic["TopicName"], "Tags": topic["Tags"]})
    limit = {**budget["Budget"]["BudgetLimit"], "Amount": str(budget["Budget"]["BudgetLimit"]["Amount"])}
    request: dict[str, Any] = {**budget, "Budget": {**budget["Budget"], "BudgetLimit": limit}}
    # Python cannot read the pattern of a budget's name, so the name stays out of the check of words.
    model = botocore.session.get_session().get_service_model("budgets")
    shape = model.operation_model("CreateBudget").input_shape
    assert shape is not None
    report = ParamValidator().validate({"AccountId": ACCOUNT_ID, **request}, shape)
    assert not report.has_errors(), report.generate_report()
    del request["Budget"]["BudgetName"]
    assert list(request_check.faults(request, shape, "")) == []


def test_a_failed_run_is_reported_and_no_other(cloud: Cloud) -> None:
    (rule,), (policy,) = STACK.of_type("Events::Rule").values(), STACK.of_type("SNS::TopicPolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    (target,) = rule["Targets"]
    assert "follow <name> --stage dev" in target["InputTransformer"]["InputTemplate"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Resource"] == target["Arn"] == STACK.resolve({"Ref": "Alarms"})
    logs, events = boto3.client("logs"), boto3.client("events")
    logs.create_log_group(logGroupName="/reports")
    group = logs.describe_log_groups(logGroupNamePrefix="/reports")["logGroups"][0]["arn"].removesuffix(":*")
    events.put_rule(Name=rule["Name"], EventPattern=json.dumps(rule["EventPattern"]), State="ENABLED")
    events.put_targets(Rule=rule["Name"], Targets=[{"Id": "group", "Arn": group}])
    kinds = ("EMR Job Run State Change", "EMR Job Run New Driver Attempt")
    states = [(kind, state) for kind in kinds for state in ("RUNNING", "FAILED", "COMPLETED")]
    for kind, state in states:
        detail = json.dumps({"state": state, "name": "monday"})
        entry: Any = {"Source": "aws.emr-containers", "DetailType": kind, "Detail": detail}
        events.put_events(Entries=[entry])
    reported = [
        json.loads(event["message"])["detail"]
        for event in logs.filter_log_events(logGroupName="/reports")["events"]
    ]
    assert reported == [{"state": "FAILED", "name": "monday"}]
    assert cloud.requests
