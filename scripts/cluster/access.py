"""Access entries of the EKS cluster: for the nodes' role, and for administrators beside its creator.

EKS creates the entry of the nodes' role with the cluster; a cluster of an older template has another role.
"""

import re
from typing import Final

from botocore.exceptions import ClientError

from job.errors import UsageError
from scripts.cluster import stacks, stage_state
from scripts.cluster.cluster_tools import Tools
from scripts.cluster.stage_state import NOT_FOUND, AwsClients

POLICIES: Final = "arn:aws:eks::aws:cluster-access-policy/"
ROLE_ARN: Final = re.compile(r"arn:aws:iam::\d{12}:role/[\w+=,.@/-]+", re.ASCII)


def role_arn(text: str | None) -> str | None:
    """Check the ARN of ``--admin-role``, and return it.

    Raises
    ------
    UsageError
        If it is not a role's.
    """
    if text is not None and not ROLE_ARN.fullmatch(text):
        raise UsageError(
            f"--admin-role {text}: give a role's ARN, arn:aws:iam::123456789012:role/name; "
            "aws iam get-role --role-name name shows it"
        )
    return text


def refuse_missing_role(aws: AwsClients, admin_role: str | None) -> None:
    """Check that the administrators' role exists in this account.

    Raises
    ------
    UsageError
        If it does not.
    """
    if admin_role is None:
        return
    account = admin_role.split(":")[4]
    if account != aws.account:
        raise UsageError(f"--admin-role {admin_role}: it is of account {account}, not of {aws.account}")
    try:
        existing = aws.iam.get_role(RoleName=admin_role.rpartition("/")[2])["Role"]["Arn"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in NOT_FOUND:
            raise
        raise UsageError(f"--admin-role {admin_role}: there is no such role") from None
    if existing != admin_role:
        raise UsageError(f"--admin-role {admin_role}: the role of that name is {existing}")


def grant(tools: Tools, aws: AwsClients, admin_role: str | None) -> bool:
    """Give the nodes' role and the administrators' role their access; return whether anything changed."""
    changed = False
    if stage_state.cluster(aws, tools.stage) is not None:  # in a dry run there may be none yet
        stack_outputs = stacks.required_outputs(tools, aws, tools.stage.account_stack, ("NodeRoleArn",))
        changed = _associate(tools, aws, stack_outputs["NodeRoleArn"], "EC2", "AmazonEKSAutoNodePolicy")
    if admin_role is not None:
        changed |= _associate(tools, aws, admin_role, "STANDARD", "AmazonEKSClusterAdminPolicy")
    return changed


def _associate(tools: Tools, aws: AwsClients, principal: str, kind: str, policy: str) -> bool:
    """Create a role's access entry, and associate it with a policy, as far as that is not done."""
    cluster = tools.stage.cluster
    existing = _policies(aws, cluster, principal)
    entry = ("--cluster-name", cluster, "--principal-arn", principal)
    if existing is None:
        tools.aws("eks", "create-access-entry", *entry, "--type", kind)
    if existing is None or POLICIES + policy not in existing:
        tools.aws("eks", "associate-access-policy", *entry, "--policy-arn", POLICIES + policy,
                  "--access-scope", "type=cluster")  # fmt: skip
        return True
    return False


def _policies(aws: AwsClients, cluster: str, principal: str) -> list[str] | None:
    """Return the ARNs of the policies of a role's access entry, if there is an entry."""
    try:
        pages = aws.eks.get_paginator("list_associated_access_policies").paginate(
            clusterName=cluster, principalArn=principal
        )
        return [policy["policyArn"] for page in pages for policy in page["associatedAccessPolicies"]]
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND:
            return None
        raise
