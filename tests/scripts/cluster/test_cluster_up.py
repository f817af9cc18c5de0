"""cluster.sh up, interrupted at each step, refused, and with incomplete stacks."""

from typing import Any, Final

import boto3
import pytest

from scripts.cluster.cluster_tools import CommandResult
from tests.support.aws_emulator import Answer
from tests.support.recorders.desk import NETWORK, Desk
from tests.support.recorders.emulator import stacks

STAGE: Final[Any] = {"ParameterKey": "Stage", "ParameterValue": "dev"}
GOES_ON: Final = "./scripts/cluster.sh up --stage dev goes on from there\n"
# Each step's first command, the step, and the steps before it.
STEPS: Final = (
    ("deploy --stack-name fruits-dev ", "account", "nothing was done before it"),
    ("deploy --stack-name fruits-dev-network", "network", "done before it: account"),
    ("eksctl create", "cluster", "done before it: account, network"),
    ("update-kubeconfig", "namespace", "done before it: account, network, cluster"),
    ("apply", "namespace", "done before it: account, network, cluster"),
    ("create-virtual-cluster", "virtual cluster", "done before it: account, network, cluster, namespace"),
    ("update-role-trust-policy", "trust", "account, network, cluster, namespace, virtual cluster"),
    ("create -f -", "smoke test", "namespace, virtual cluster, trust"),
)


@pytest.mark.parametrize(("command", "step", "before"), STEPS)
def test_ctrl_c_in_a_step_says_what_is_done_and_the_next_up_goes_on(
    command: str, step: str, before: str, desk: Desk
) -> None:
    desk.interrupt(command)
    outcome = desk("up", "--yes")
    assert outcome.code == 130
    assert outcome.err.startswith(f"error: step {step}: interrupted") and outcome.err.endswith(GOES_ON)
    assert before in outcome.err
    assert ("AWS may go on" in outcome.err) == (step in ("account", "network", "cluster", "virtual cluster"))
    assert desk.is_whole()


def test_the_command_that_goes_on_has_every_option_of_the_first(desk: Desk) -> None:
    options = ["--public-access", "198.51.100.0/24", "--parameter", "Nat=yes", "--parameter", "PhotoDays=30"]
    desk.interrupt("deploy --stack-name fruits-dev ")
    outcome = desk("up", "--yes", *options)
    assert outcome.err.endswith(
        f"./scripts/cluster.sh up --stage dev {' '.join(options)} goes on from there\n"
    )


@pytest.mark.parametrize("point", ["stack", "cluster"])
def test_an_eksctl_that_was_ended_in_the_middle_is_mended(point: str, desk: Desk) -> None:
    desk.memory.put("ends", point)
    assert desk("up", "--yes").code == 130
    if point == "stack":  # its creation then fails
        (stack,) = [candidate for candidate in stacks() if candidate.name == "eksctl-fruits-dev-cluster"]
        stack.status = "ROLLBACK_COMPLETE"
    assert desk.is_whole()
    assert len(boto3.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]) == 1


@pytest.mark.parametrize(
    ("command", "message", "code", "sentence"),
    [
        ("deploy", "An error occurred (AccessDenied) when calling the CreateChangeSet operation: no", 6,
         "step account: aws says: An error occurred (AccessDenied) when calling the CreateChangeSet"),
        ("update-role-trust", "An error occurred (LimitExceeded) when calling the UpdateAssumeRolePolicy "
         "operation: Cannot exceed quota for ACLSizePerRole: 2048", 6, "ACLSizePerRole: 2048; done before"),
        ("eksctl create",
         "2026-11-22 10:00:00 [✖]  AWS::EKS::Cluster/ControlPlane: CREATE_FAILED - \"no room\"\n"
         "Error: failed to create cluster \"fruits-dev\"", 6,
         "step cluster: eksctl says: AWS::EKS::Cluster/ControlPlane: CREATE_FAILED - \"no room\"; done"),
        ("apply", "error: no matches for kind \"NodePool\" in version \"karpenter.sh/v1\"", 1,
         "step namespace: kubectl says: no matches for kind \"NodePool\""),
    ],
)  # fmt: skip
def test_a_refusal_is_one_sentence_with_the_reason(
    command: str, message: str, code: int, sentence: str, desk: Desk
) -> None:
    desk.refuse(command, message)
    outcome = desk("up", "--yes")
    assert outcome.code == code and outcome.err.count("\n") == 1
    assert sentence in outcome.err and outcome.err.endswith(GOES_ON)


def fail(name: str) -> None:
    """End a stack's creation as CloudFormation does when two resources fail."""
    stack = next(candidate for candidate in stacks() if candidate.name == name)
    for resource, reason in (("Vpc", "The maximum number of VPCs is reached."), ("A", "creation cancelled")):
        stack._add_stack_event("CREATE_FAILED", resource_status_reason=reason)
        stack.events[-1].logical_resource_id = resource
    stack.status = "ROLLBACK_COMPLETE"


def test_a_stack_that_failed_says_which_resource_and_why_and_is_made_anew(desk: Desk) -> None:
    def deploy(line: str) -> CommandResult | None:
        if "deploy --stack-name fruits-dev-network" not in line:
            return None
        boto3.client("cloudformation").create_stack(StackName="fruits-dev-network", TemplateBody=NETWORK,
                                                    Parameters=[STAGE])  # fmt: skip
        fail("fruits-dev-network")
        return CommandResult(255, "Failed to create/update the stack. Run the following command")

    desk.before.append(deploy)
    outcome = desk("up", "--yes")
    reason = "Vpc: The maximum number of VPCs is reached"
    assert outcome.code == 6
    assert f"step network: stack fruits-dev-network is in ROLLBACK_COMPLETE: {reason}; done" in outcome.err
    desk.before.clear()
    again = desk("up", "--yes")
    assert again.code == 0
    assert f"an earlier creation failed ({reason}) and left an empty stack" in again.out
    assert [line.split()[2] for line in again.commands[:2]] == ["delete-stack", "deploy"]


@pytest.mark.parametrize(
    ("vcpus", "notes"),
    [
        (640, []),
        (5, ["size small needs 4 vCPUs on demand for its driver", "size medium needs 4 vCPUs on demand"]),
        (16, ["let 7 of 10 executors run"]),
        (
            2,
            ["too small for a driver: size small", "hold no executor", "is too small", "hold no executor"],
        ),
    ],
)
def test_up_says_which_vcpu_quotas_are_too_small_before_it_asks(
    vcpus: int, notes: list[str], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.memory.put("vcpus", vcpus)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    lines = desk("up", answer="n").out.partition("Make it?")[0].splitlines()
    printed = [line for line in lines if line.startswith("note: ")]
    assert len(printed) == len(notes)
    for line, note in zip(printed, notes, strict=True):
        assert note in line and "request-service-quota-increase" in line


@pytest.mark.parametrize("readable", [True, False])
def test_up_says_how_to_make_the_role_that_spot_needs(readable: bool, desk: Desk) -> None:
    desk.memory.put("spot-role", False)
    if not readable:
        body = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>m</Message></Error></ErrorResponse>"
        refusal = Answer(403, body, (("Content-Type", "text/xml"),))
        desk.cloud.fail_once(lambda request: request.action == "GetRole", refusal)
    (note,) = [line for line in desk("up", "--dry-run").out.splitlines() if line.startswith("note: ")]
    assert note.endswith("aws iam create-service-linked-role --aws-service-name spot.amazonaws.com")
    assert ("has no role for Spot" in note) == readable


def test_a_budget_that_nobody_hears_of_is_refused(desk: Desk) -> None:
    outcome = desk("up", "--yes", "--parameter", "BudgetUsd=100")
    assert outcome.code == 2 and outcome.err.startswith("error: BudgetUsd without AlarmEmail makes no budget")
    assert outcome.commands == []
    address = ("--parameter", "AlarmEmail=ada@example.org")
    assert desk("up", "--dry-run", *address, "--parameter", "BudgetUsd=100").code == 0


def test_a_stack_in_trouble_is_not_touched(desk: Desk) -> None:
    desk("up", "--yes")
    next(stack for stack in stacks() if stack.name == "fruits-dev-network").status = "UPDATE_ROLLBACK_FAILED"
    outcome = desk("up", "--yes")
    assert outcome.code == 6 and "aws cloudformation" not in outcome.out
    assert "step network: stack fruits-dev-network is in UPDATE_ROLLBACK_FAILED" in outcome.err


def test_a_changed_template_or_parameter_is_deployed(desk: Desk) -> None:
    desk("up", "--yes")
    outcome = desk("up", "--yes", "--parameter", "Nat=yes")
    assert outcome.code == 0 and "Stage=dev Nat=yes" in outcome.commands[0] and len(outcome.commands) == 2
    stacks = boto3.client("cloudformation").describe_stacks(StackName="fruits-dev-network")["Stacks"]
    assert stacks[0]["StackStatus"] == "UPDATE_COMPLETE"
