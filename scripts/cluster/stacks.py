"""CloudFormation stacks for cluster.sh: brought to what their templates say, or removed."""

from dataclasses import dataclass
from typing import Final

from job.errors import JobError
from scripts.cloud import manifests
from scripts.cloud.aws_session import AwsRefusedError
from scripts.cloud.stage import Stage
from scripts.cluster import stack_templates, stage_state
from scripts.cluster.cluster_tools import Hands, relative
from scripts.cluster.stage_state import Aws, StackState

# A first creation that failed leaves a stack that is empty, in the way, and good for nothing but deletion.
EMPTY: Final = ("ROLLBACK_COMPLETE",)
# CloudFormation deletes a VPC's endpoints in minutes, and EKS makes a control plane in ten to fifteen.
MINUTES: Final = 40


@dataclass(frozen=True)
class Wanted:
    """A stack as it should be."""

    name: str
    file: str
    stage: Stage
    parameters: dict[str, str]

    def is_met(self, aws: Aws, found: StackState | None) -> bool:
        """Tell whether the stack stands, of this very template and with these parameters."""
        if found is None or not found.is_ready:
            return False
        mine = {"Stage": self.stage.name, **self.parameters}
        if any(found.parameters.get(name) != value for name, value in mine.items()):
            return False
        written = aws.cloudformation.get_template(StackName=self.name)["TemplateBody"]
        return str(written).strip() == stack_templates.text(self.file).strip()


def bring(hands: Hands, aws: Aws, wanted: Wanted) -> bool:
    """Make a stack, or change it to what its template says; return whether there was anything to do.

    Raises
    ------
    JobError
        If CloudFormation cannot.
    """
    found = settled(hands, aws, wanted.name)
    if wanted.is_met(aws, found):
        print(f"  stack {wanted.name} is as k8s/{wanted.file} says")
        return False
    if found is not None and found.status in EMPTY:
        print(f"  an earlier creation failed ({stage_state.why(aws, wanted.name)}) and left an empty stack")
        remove(hands, aws, wanted.name)
    elif found is not None and not found.is_ready and found.status != "REVIEW_IN_PROGRESS":
        raise AwsRefusedError(
            f"stack {wanted.name} is in {found.status} ({stage_state.why(aws, wanted.name)}): look at it "
            "in CloudFormation, and delete it there or finish what it could not do"
        )
    parameters = {"Stage": wanted.stage.name, **wanted.parameters}
    words = ["cloudformation", "deploy", "--stack-name", wanted.name]
    words += ["--template-file", relative(manifests.K8S / wanted.file)]
    words += ["--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items())]
    words += ["--capabilities", "CAPABILITY_NAMED_IAM", "--no-fail-on-empty-changeset"]
    words += ["--tags", "project=fruits", f"stage={wanted.stage.name}"]
    try:
        hands.aws(*words)
    except AwsRefusedError as error:
        now = stage_state.stack(aws, wanted.name)
        if now is None or now.is_ready or now.status == "REVIEW_IN_PROGRESS":
            raise
        reason = stage_state.why(aws, wanted.name)
        raise AwsRefusedError(f"stack {wanted.name} is in {now.status}: {reason}") from error
    return True


def remove(hands: Hands, aws: Aws, name: str) -> bool:
    """Delete a stack and wait until it is gone; return whether there was one.

    Raises
    ------
    JobError
        If CloudFormation cannot.
    """
    found = settled(hands, aws, name)
    if found is None:
        return False
    hands.aws("cloudformation", "delete-stack", "--stack-name", name)
    if not hands.dry_run and (left := settled(hands, aws, name)) is not None:
        reason = stage_state.why(aws, name)
        raise AwsRefusedError(f"stack {name} is in {left.status}: {reason}")
    return True


def settled(hands: Hands, aws: Aws, name: str) -> StackState | None:
    """Wait until nothing happens to a stack any more, and return it, if there still is one."""

    def look() -> tuple[StackState | None] | None:
        found = stage_state.stack(aws, name)
        # Under review it has no resource yet: what was begun there is begun anew.
        moving = found is not None and found.status.endswith("_IN_PROGRESS")
        return None if moving and found is not None and found.status != "REVIEW_IN_PROGRESS" else (found,)

    if hands.dry_run:
        return stage_state.stack(aws, name)
    return hands.until(look, f"stack {name} has settled", minutes=MINUTES)[0]


def outputs(hands: Hands, aws: Aws, name: str, wanted: tuple[str, ...]) -> dict[str, str]:
    """Return a stack's outputs; in a dry run ``<Name>`` stands for one that is not known yet.

    Raises
    ------
    JobError
        If the stack does not have one of those.
    """
    found = stage_state.stack(aws, name)
    made = found.outputs if found is not None else {}
    missing = [one for one in wanted if one not in made]
    if missing and not hands.dry_run:
        raise JobError(f"stack {name} does not say its {missing[0]}: is it of another template?")
    return {**{one: f"<{one}>" for one in missing}, **made}
