"""The check of requests against services' own models."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.model import Shape

from scripts.cloud.request_check import _python, faults
from tests.support.aws_emulator import Cloud
from tests.support.checked.requests import InvalidRequestError

SERVICES = ("cloudformation", "ecr", "eks", "emr-containers", "iam", "kms", "logs", "s3", "sts")


def model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


@pytest.mark.parametrize("service", SERVICES)
def test_every_pattern_of_the_services_is_understood(service: str) -> None:
    service_model = model(service)
    shapes = [service_model.shape_for(name) for name in service_model.shape_names]
    patterns = {shape.metadata["pattern"] for shape in shapes if "pattern" in shape.metadata}
    for pattern in patterns:
        re.compile(_python(pattern))


@pytest.mark.parametrize(
    ("service", "operation", "request_", "fault"),
    [
        ("eks", "CreateCluster", {"name": "-x"}, "name is '-x', which does not match"),
        ("logs", "GetLogEvents", {"limit": 10_001}, "limit has 10001, not 1 to 10000"),
        ("ecr", "DescribeImages", {"filter": {"tagStatus": "OLD"}}, "filter.tagStatus is 'OLD', not one of"),
        ("iam", "GetRole", {"RoleName": "x" * 65}, "RoleName has 65 characters, not 1 to 64"),
    ],
)
def test_what_a_service_would_refuse_is_found(
    service: str, operation: str, request_: dict[str, Any], fault: str
) -> None:
    shape: Shape = model(service).operation_model(operation).input_shape
    assert any(fault in message for message in faults(request_, shape, ""))


def test_what_a_service_takes_has_no_fault() -> None:
    shape: Shape = model("logs").operation_model("GetLogEvents").input_shape
    good = {"logGroupName": "/fruits/dev", "logStreamName": "monday/x/jobs/y", "limit": 10_000}
    assert not list(faults(good, shape, ""))


def test_a_bad_request_of_ours_or_of_the_cli_never_leaves(cloud: Cloud) -> None:
    with pytest.raises(InvalidRequestError, match="RoleName"):
        boto3.client("iam").get_role(RoleName="a b")
    command = [str(Path(sys.executable).with_name("aws")), "iam", "get-role", "--role-name", "a b"]
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert process.returncode and "RoleName" in process.stderr
    assert not cloud.requests
