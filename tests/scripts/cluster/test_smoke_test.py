"""cluster.sh check: a pod on a drivers' node shows whether runs could start, and is deleted afterwards."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.ecr.models import ecr_backends

from scripts.cloud.aws_session import release_value
from scripts.cluster import cluster_tools, smoke_test
from scripts.cluster.cluster_tools import CommandResult
from tests.support.aws_emulator import ACCOUNT, REGION
from tests.support.cloud_stage import push
from tests.support.recorders.desk import Desk

STS = "https://sts.eu-west-1.amazonaws.com/"


@pytest.fixture
def created(desk: Desk) -> list[Any]:
    """Collect the pods that were created."""
    pods: list[Any] = []
    desk.after.append(
        lambda line: pods.append(desk.memory.get("pod")) if " create -f - " in line + " " else None
    )
    return pods


@pytest.mark.usefixtures("standing")
def test_the_pod_reaches_what_a_run_needs_and_goes(desk: Desk, created: list[Any]) -> None:
    desk.memory.put("phases", ["Pending", "Running", "Succeeded"])
    outcome = desk("check")
    assert (outcome.code, outcome.err) == (0, "")
    (pod,) = created
    hosts = [address.split("/")[2] for address in pod["spec"]["containers"][0]["args"]]
    assert hosts == [
        "kubernetes.default.svc",
        "sts.eu-west-1.amazonaws.com",
        "logs.eu-west-1.amazonaws.com",
        f"fruits-dev-photos-{ACCOUNT}.s3.eu-west-1.amazonaws.com",
        "api.ecr.eu-west-1.amazonaws.com",
        f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com",
    ]
    assert f"  reached {STS}: HTTP 403\n" in outcome.out
    assert "stage dev can run pods, and they reach AWS" in outcome.out
    assert desk.memory.get("pod") is None and len(desk.waited) == 2


@pytest.mark.usefixtures("standing")
def test_the_pod_runs_the_newest_image_or_emrs_if_none_is_pushed(desk: Desk, created: list[Any]) -> None:
    desk("check")
    boto3.client("ecr").create_repository(repositoryName="fruits-dev")
    desk("check")
    digest = push("fruits-dev", "newer")
    push("fruits-dev", "old")
    (_, old) = ecr_backends[ACCOUNT][REGION].repositories["fruits-dev"].images
    old.image_pushed_at -= 60
    desk("check")
    base = f"483788554619.dkr.ecr.eu-west-1.amazonaws.com/spark/emr-{release_value('EMR_RELEASE')}:latest"
    own = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/fruits-dev@{digest}"
    assert [pod["spec"]["containers"][0]["image"] for pod in created] == [base, base, own]


@pytest.mark.usefixtures("standing")
@pytest.mark.parametrize("phase", ["Failed", "Pending"])
def test_a_failure_shows_what_karpenter_knows_and_the_pod_goes(phase: str, desk: Desk) -> None:
    desk.memory.put("phases", [phase])
    desk.memory.put("unreached", [STS])
    desk.memory.put("message", "VcpuLimitExceeded")
    outcome = desk("check")
    assert outcome.code == 1
    reasons = {"Failed": f"NOT reached {STS}", "Pending": "waited 15 minutes until pod fruits-smoke-test-"}
    assert reasons[phase] in outcome.err
    described = outcome.out.partition("+ kubectl describe nodeclaims -l karpenter.sh/nodepool=drivers\n")[2]
    assert "VcpuLimitExceeded" in described
    assert desk.memory.get("pod") is None


@pytest.mark.usefixtures("standing")
def test_an_interrupted_check_deletes_its_pod(desk: Desk) -> None:
    desk.interrupt(" get pod ")
    assert desk("check").code == 130
    assert desk.memory.get("pod") is None


@pytest.mark.usefixtures("standing")
@pytest.mark.parametrize("interrupted", [True, False])
def test_a_pod_that_is_not_deleted_is_named_with_the_command_and_the_next_check_deletes_it(
    interrupted: bool, desk: Desk
) -> None:
    desk.memory.put("phases", ["Failed"])
    refusal = CommandResult(1, "error: no connection")

    def keep(line: str) -> CommandResult | None:
        if " delete pod " in line and interrupted:
            raise KeyboardInterrupt
        return refusal if " delete pod " in line else None

    desk.before.append(keep)
    outcome = desk("check")
    assert outcome.code == (130 if interrupted else 1)
    assert ("the pod of the smoke test has failed" in outcome.err) != interrupted, "the cause is not hidden"
    name = desk.memory.get("pod")["metadata"]["name"]
    hint = next(line for line in outcome.out.splitlines() if f"pod {name} may be left" in line)
    assert f"kubectl --kubeconfig {tools_file()} delete pod {name} -n fruits" in hint
    desk.before.clear()
    desk.memory.put("phases", ["Succeeded"])
    desk.memory.put("pods", [desk.memory.get("pod")])
    assert " delete pod -l fruits/smoke-test -n fruits" in desk("check").commands[1]
    assert desk.memory.get("pods") == []


def tools_file() -> str:
    return str(cluster_tools.BUILD / "kubeconfig-dev")


@pytest.mark.usefixtures("standing")
def test_an_image_that_cannot_be_pulled_ends_the_wait(desk: Desk) -> None:
    desk.memory.put("phases", ["Pending"])
    desk.memory.put("waiting", {"reason": "ImagePullBackOff", "message": "Back-off pulling image"})
    outcome = desk("check")
    assert outcome.code == 1 and len(desk.waited) == 1
    assert "cannot pull its image: ImagePullBackOff: Back-off pulling image" in outcome.err


@pytest.mark.usefixtures("standing")
def test_a_stage_whose_check_never_passed_asks_before_it_runs_a_pod(desk: Desk) -> None:
    desk.memory.put("annotations", {})
    outcome = desk("up")
    assert outcome.code == 2 and "there is no terminal to ask at" in outcome.err
    assert "  smoke test      a pod on a drivers' node" in outcome.out and "all of it" not in outcome.out


def test_a_stage_without_a_cluster_cannot_be_checked(desk: Desk) -> None:
    outcome = desk("check")
    assert outcome.code == 2 and outcome.commands == []
    assert "there is no EKS cluster fruits-dev to check: ./scripts/cluster.sh up --stage dev" in outcome.err


def test_up_is_complete_only_after_a_check_that_passed(desk: Desk) -> None:
    desk.memory.put("phases", ["Failed"])
    outcome = desk("up", "--yes")
    assert outcome.code == 1 and "step smoke test: the pod of the smoke test has failed" in outcome.err
    desk.memory.put("phases", ["Succeeded"])
    assert "create -f -" in desk("up", "--yes").out
    assert "create -f -" not in desk("up", "--yes").out, "a cluster is checked once"


@pytest.fixture
def server() -> Iterator[str]:
    """Run an HTTP server that refuses everything, and return its URL."""

    class Refusal(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302 if self.path == "/" else 403)
            self.send_header("Location", "http://127.0.0.1:9/")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{refusing.server_port}"
        refusing.shutdown()


def run_program(*addresses: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", smoke_test.PROGRAM.read_text(), *addresses]
    environment = {"SMOKE_SECONDS": "0"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_refusal_is_an_answer(server: str) -> None:
    process = run_program(f"{server}/", f"{server}/v2/")
    assert process.returncode == 0
    assert process.stdout.splitlines() == [
        f"reached {server}/: HTTP 302",
        f"reached {server}/v2/: HTTP 403",
    ]


def test_a_missing_name_a_closed_port_and_bad_tls_are_told_apart(server: str) -> None:
    process = run_program(
        "https://fruits.invalid/", "https://127.0.0.1:9/", server.replace("http:", "https:"), f"{server}/"
    )
    assert process.returncode == 1
    reasons = [line.partition(": ")[2].partition(":")[0] for line in process.stdout.splitlines()]
    assert reasons == ["gaierror", "ConnectionRefusedError", "SSLError", "HTTP 302"]
