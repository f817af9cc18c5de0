"""What cluster.sh needs of AWS and moto does not do, as rules of the emulator."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from moto.cloudformation.models import cloudformation_backends
from moto.ec2.models import ec2_backends
from moto.kms.models import kms_backends

from tests.support.aws_emulator import ACCOUNT, REGION, Answer, Cloud, Request


def mend(cloud: Cloud) -> Callable[[Request], Answer | None]:
    """Return a rule that mends moto.

    A stack that a change set makes has outputs, its keys a policy that moto can read, what is to be retained
    is retained, and a route table does not keep its VPC. A virtual cluster has an age, can be given tags, and
    makes room in its namespace when it is terminated.
    """
    seen: set[str] = set()

    def rule(request: Request) -> Answer | None:
        for one in cloud.virtual_clusters():
            if one.id not in seen:  # moto makes them at midnight
                seen.add(one.id)
                one.created_at = datetime.now(UTC)
            if one.state == "TERMINATED" and request.method == "POST":
                one.namespace = "gone"
        if request.action == "DescribeStacks":
            _read_outputs()
        if request.action == "DeleteStack":
            _let_go()
        return _tag(cloud, request)

    return rule


def stacks() -> list[Any]:
    """Return moto's stacks; their status may be set."""
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


def _let_go() -> None:
    for stack in stacks():
        for one in stack.resource_map._resource_json_map.values():
            if one.get("DeletionPolicy") == "RetainExceptOnCreate":
                one["DeletionPolicy"] = "Retain"
    tables = ec2_backends[ACCOUNT][REGION].route_tables
    for name in [name for name, table in tables.items() if not table.main_association_id]:
        del tables[name]


def _tag(cloud: Cloud, request: Request) -> Answer | None:
    path = unquote(request.path)
    if request.method != "POST" or not path.startswith("/tags/arn:aws:emr-containers:"):
        return None
    for one in cloud.virtual_clusters():
        if path.endswith(one.id):
            one.tags = {**(one.tags or {}), **json.loads(request.body)["tags"]}
    return Answer(200, b"{}")
