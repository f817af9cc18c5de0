"""cluster.sh check: a pod that needs a node shows whether runs could start, and is deleted in any case."""

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
from scripts.cluster import smoke_test
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
    reasons = {"Failed": f"NOT reached {STS}", "Pending": "waited 15 minutes until pod fruits-check-"}
    assert reasons[phase] in outcome.err
    described = outcome.out.partition("+ kubectl describe nodeclaims -l karpenter.sh/nodepool=drivers\n")[2]
    assert "VcpuLimitExceeded" in described
    assert desk.memory.get("pod") is None


@pytest.mark.usefixtures("standing")
def test_an_interrupted_check_deletes_its_pod(desk: Desk) -> None:
    desk.interrupt(" get pod ")
    assert desk("check").code == 130
    assert desk.memory.get("pod") is None


def test_a_stage_without_a_cluster_cannot_be_checked(desk: Desk) -> None:
    outcome = desk("check")
    assert outcome.code == 2 and outcome.commands == []
    assert "there is no EKS cluster fruits-dev to check: ./scripts/cluster.sh up --stage dev" in outcome.err


def test_up_is_complete_only_after_a_check_that_passed(desk: Desk) -> None:
    desk.memory.put("phases", ["Failed"])
    outcome = desk("up", "--yes")
    assert outcome.code == 1 and "step check: the pod of the smoke test has failed" in outcome.err
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
