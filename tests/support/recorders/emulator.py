"""Rules of the emulator for what cluster.sh needs of AWS and moto lacks."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

from moto.cloudformation.models import cloudformation_backends
from moto.ec2.models import ec2_backends
from moto.kms.models import kms_backends

from tests.support.aws_emulator import ACCOUNT, REGION, Answer, Cloud, Request
from tests.support.recorders.arguments import Memory

SPOT_ROLE: Final = Answer(
    200,
    b"<GetRoleResponse><GetRoleResult><Role><RoleName>AWSServiceRoleForEC2Spot</RoleName></Role>"
    b"</GetRoleResult></GetRoleResponse>",
    (("Content-Type", "text/xml"),),
)


def corrections(cloud: Cloud) -> Callable[[Request], Answer | None]:
    """Return a rule that corrects moto.

    A stack from a change set has outputs, and its keys have policies that moto can read. Retained
    resources are retained, and a route table does not block its VPC. A virtual cluster has an age, accepts
    tags, and frees its namespace when it is terminated. EC2's vCPU quotas have a value, which a test may set.
    A cluster has access entries. The account has EC2's role for Spot, unless a test says otherwise.
    """
    seen: set[str] = set()

    def rule(request: Request) -> Answer | None:
        for virtual in cloud.virtual_clusters():
            if virtual.id not in seen:  # moto sets midnight
                seen.add(virtual.id)
                virtual.created_at = datetime.now(UTC)
            if virtual.state == "TERMINATED" and request.method == "POST":
                virtual.namespace = "gone"
        if request.action == "DescribeStacks":
            _read_outputs()
        if request.action == "DeleteStack":
            _prepare_deletion()
        if request.action == "GetServiceQuota":
            vcpus = Memory.here().get("vcpus", 640)
            return Answer(200, json.dumps({"Quota": {"Value": vcpus}}).encode())
        if request.action == "GetRole" and b"AWSServiceRoleForEC2Spot" in request.body:
            return SPOT_ROLE if Memory.here().get("spot-role", True) else None
        return _access(request) or _tag(cloud, request)

    return rule


def stacks() -> list[Any]:
    """Return moto's stacks; a test may set their status."""
    return list(cloudformation_backends[ACCOUNT][REGION].stacks.values())


def _read_outputs() -> None:
    for stack in stacks():
        if stack.template != getattr(stack, "read", None):
            stack.read = stack.template
            stack._parse_template()
            stack.output_map = stack._create_output_map()
    keys: list[Any] = list(kms_backends[ACCOUNT][REGION].keys.values())
    for key in keys:
        if isinstance(key.policy, dict):
            key.policy = json.dumps(key.policy)


def _prepare_deletion() -> None:
    for stack in stacks():
        for resource in stack.resource_map._resource_json_map.values():
            if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
                resource["DeletionPolicy"] = "Retain"
    tables = ec2_backends[ACCOUNT][REGION].route_tables
    for name in [name for name, table in tables.items() if not table.main_association_id]:
        del tables[name]


def _access(request: Request) -> Answer | None:
    """Answer for access entries, which moto lacks: policies by role, in the recorders' memory."""
    parts = unquote(request.path.partition("?")[0]).split("/access-entries", 1)
    if len(parts) < 2:
        return None
    memory, body = Memory.here(), json.loads(request.body or b"{}")
    entries = memory.get("access-entries", {})
    role = parts[1].removeprefix("/").removesuffix("/access-policies") or body["principalArn"]
    if not parts[1]:
        entries[role] = []
    elif role not in entries:
        error = json.dumps({"message": "The specified principalArn could not be found."})
        return Answer(404, error.encode(), (("x-amzn-ErrorType", "ResourceNotFoundException"),))
    elif request.method == "POST":
        entries[role].append(body["policyArn"])
    memory.put("access-entries", entries)
    policies = [{"policyArn": policy} for policy in entries[role]]
    return Answer(200, json.dumps({"associatedAccessPolicies": policies}).encode())


def _tag(cloud: Cloud, request: Request) -> Answer | None:
    path = unquote(request.path)
    if request.method != "POST" or not path.startswith("/tags/arn:aws:emr-containers:"):
        return None
    for virtual in cloud.virtual_clusters():
        if path.endswith(virtual.id):
            virtual.tags = {**(virtual.tags or {}), **json.loads(request.body)["tags"]}
    return Answer(200, b"{}")
