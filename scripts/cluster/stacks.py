"""Deploys and deletes CloudFormation stacks, and waits until AWS has finished changing a stack or cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from job.errors import JobError
from scripts.cloud import manifests
from scripts.cloud.aws_session import AwsRefusedError
from scripts.cloud.stage import Stack, Stage, find_stack
from scripts.cluster import stack_templates, stage_state
from scripts.cluster.cluster_tools import Tools, relative_path
from scripts.cluster.stage_state import AwsClients

if TYPE_CHECKING:
    from mypy_boto3_eks.type_defs import ClusterTypeDef

# A failed first creation leaves an empty stack, which can only be deleted.
FAILED_CREATION: Final = ("ROLLBACK_COMPLETE",)
# EKS takes ten to fifteen minutes for a control plane; CloudFormation some for a VPC's endpoints.
TIMEOUT_MINUTES: Final = 40
# The states of an EKS cluster that AWS leaves by itself.
CLUSTER_TRANSITIONS: Final = ("CREATING", "DELETING", "PENDING")


@dataclass(frozen=True)
class DesiredStack:
    """The template and parameters that a stack should have."""

    name: str
    file: str
    stage: Stage
    parameters: dict[str, str]

    def is_met(self, aws: AwsClients, stack: Stack | None) -> bool:
        """Tell whether a stack is ready and has this template and these parameters."""
        if stack is None or not stack.is_ready:
            return False
        parameters = {"Stage": self.stage.name, **self.parameters}
        if any(stack.parameters.get(name) != value for name, value in parameters.items()):
            return False
        template = aws.cloudformation.get_template(StackName=self.name)["TemplateBody"]
        return str(template).strip() == stack_templates.text(self.file).strip()


def deploy(tools: Tools, aws: AwsClients, desired: DesiredStack) -> bool:
    """Create or update a stack from its template; return whether it needed that.

    Raises
    ------
    AwsRefusedError
        If CloudFormation cannot.
    """
    stack = settled_stack(tools, aws, desired.name)
    if desired.is_met(aws, stack):
        print(f"  stack {desired.name} is as k8s/{desired.file} says")
        return False
    if stack is not None and stack.status in FAILED_CREATION:
        reason = stage_state.failure_reason(aws, desired.name)
        print(f"  an earlier creation failed ({reason}) and left an empty stack")
        remove(tools, aws, desired.name)
    elif stack is not None and not stack.is_ready and stack.status != "REVIEW_IN_PROGRESS":
        reason = stage_state.failure_reason(aws, desired.name)
        raise AwsRefusedError(
            f"stack {desired.name} is in {stack.status} ({reason}): look at it in CloudFormation, and delete "
            "it there or finish what it could not do"
        )
    parameters = {"Stage": desired.stage.name, **desired.parameters}
    words = ["cloudformation", "deploy", "--stack-name", desired.name]
    words += ["--template-file", relative_path(manifests.K8S / desired.file)]
    words += ["--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items())]
    words += ["--capabilities", "CAPABILITY_NAMED_IAM", "--no-fail-on-empty-changeset"]
    words += ["--tags", "project=fruits", f"stage={desired.stage.name}"]
    try:
        tools.aws(*words)
    except AwsRefusedError as error:
        stack = find_stack(aws.cloudformation, desired.name)
        if stack is None or stack.is_ready or stack.status == "REVIEW_IN_PROGRESS":
            raise
        reason = stage_state.failure_reason(aws, desired.name)
        raise AwsRefusedError(f"stack {desired.name} is in {stack.status}: {reason}") from error
    return True


def remove(tools: Tools, aws: AwsClients, name: str) -> bool:
    """Delete a stack and wait until it is gone; return whether there was one.

    Raises
    ------
    AwsRefusedError
        If CloudFormation cannot.
    """
    stack = settled_stack(tools, aws, name)
    if stack is None:
        return False
    tools.aws("cloudformation", "delete-stack", "--stack-name", name)
    if not tools.dry_run and (remaining := settled_stack(tools, aws, name)) is not None:
        reason = stage_state.failure_reason(aws, name)
        raise AwsRefusedError(f"stack {name} is in {remaining.status}: {reason}")
    return True


def settled_stack(tools: Tools, aws: AwsClients, name: str) -> Stack | None:
    """Wait until CloudFormation has finished with a stack, and return it, if it still exists."""

    def settled() -> tuple[Stack | None] | None:
        stack = find_stack(aws.cloudformation, name)
        # A stack under review has no resources yet, and is deployed from the start.
        if stack is None or stack.status == "REVIEW_IN_PROGRESS":
            return (stack,)
        return None if stack.status.endswith("_IN_PROGRESS") else (stack,)

    if tools.dry_run:
        return find_stack(aws.cloudformation, name)
    return tools.wait_until(settled, f"stack {name} has settled", minutes=TIMEOUT_MINUTES)[0]


def settled_cluster(
    tools: Tools, aws: AwsClients, transitions: Sequence[str], what: str
) -> "ClusterTypeDef | None":
    """Wait until the EKS cluster is in none of some states; return it, if it exists.

    ``what`` completes the sentence "waiting until …".
    """

    def settled() -> "tuple[ClusterTypeDef | None] | None":
        eks = stage_state.cluster(aws, tools.stage)
        return None if eks is not None and eks["status"] in transitions else (eks,)

    if tools.dry_run:
        return stage_state.cluster(aws, tools.stage)
    return tools.wait_until(settled, what, minutes=TIMEOUT_MINUTES)[0]


def required_outputs(tools: Tools, aws: AwsClients, name: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return a stack's outputs; in a dry run, ``<Name>`` stands for a missing one.

    Raises
    ------
    JobError
        If the stack lacks one of the names.
    """
    stack = find_stack(aws.cloudformation, name)
    stack_outputs = stack.outputs if stack is not None else {}
    missing = [output for output in names if output not in stack_outputs]
    if missing and not tools.dry_run:
        raise JobError(f"stack {name} does not say its {missing[0]}: is it of another template?")
    return {**{output: f"<{output}>" for output in missing}, **stack_outputs}
