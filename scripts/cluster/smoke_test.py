"""The last step of ``cluster.sh up``, and ``cluster.sh check``: a pod on a drivers' node that reaches AWS.

Only a pod makes Karpenter create a node, so only a pod shows that a run could start.
"""

import json
import secrets
import shlex
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from job.errors import JobError, UsageError
from scripts.cloud import manifests
from scripts.cloud.aws_session import release_value
from scripts.cloud.stage import NAMESPACE, Stage
from scripts.cluster import stage_state
from scripts.cluster.cluster_tools import Tools, failure_reason
from scripts.cluster.stage_state import AwsClients
from scripts.cluster.up_steps import Creation

# The label of the smoke test's pods.
LABEL: Final = "fruits/smoke-test"
# Why a kubelet does not get an image.
PULL_FAILURES: Final = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName")
PROGRAM: Final = Path(__file__).with_name("smoke_program.py")
# EMR's registry in eu-west-1 (EMR on EKS Development Guide, "How to select a base image URI"). Nodes without
# a way to the internet cannot use the public one.
EMR_REGISTRY: Final = "483788554619"
# The namespace's annotation with the time of the last smoke test that passed.
CHECKED: Final = "fruits/checked"
# A node takes a minute or two, EMR's image of 3 GB some more.
TIMEOUT_MINUTES: Final = 15


def last_success(tools: Tools) -> str | None:
    """Return when the smoke test passed on this cluster; None if it has not, or kubectl cannot tell."""
    if shutil.which("kubectl") is None or not tools.kubeconfig.exists():
        return None
    result = tools.query("get", "namespace", NAMESPACE, "-o", "json")
    annotations: dict[str, str] = (
        json.loads(result.text)["metadata"].get("annotations", {}) if result.code == 0 else {}
    )
    return annotations.get(CHECKED)


def first_check(creation: Creation) -> bool:
    """Run the smoke test, unless it has passed on this cluster."""
    if not creation.tools.dry_run and (passed := last_success(creation.tools)):
        print(f"  the smoke test's pod reached AWS at {passed}")
        return False
    _run(creation.tools, creation.aws)
    return True


def check(tools: Tools, aws: AwsClients) -> int:
    """Run the smoke test and return the exit code.

    Raises
    ------
    JobError
        If there is no cluster, or the test fails.
    """
    eks = stage_state.cluster(aws, tools.stage)
    if eks is None or eks["status"] not in ("ACTIVE", "UPDATING"):
        raise UsageError(f"there is no EKS cluster {tools.stage.cluster} to check: {tools.stage.up_command}")
    tools.write_kubeconfig()
    _run(tools, aws)
    print(f"\nstage {tools.stage.name} can run pods, and they reach AWS")
    return 0


def _run(tools: Tools, aws: AwsClients) -> None:
    """Run the pod, print its log, and delete it in any case.

    Raises
    ------
    JobError
        If the pod does not end well. What Kubernetes and Karpenter know of it is printed before.
    """
    name = f"fruits-smoke-test-{secrets.token_hex(3)}"
    pod = manifests.dump(_pod(tools, aws, name))
    if not tools.dry_run and tools.query("get", "pods", "-l", LABEL, "-n", NAMESPACE, "-o", "name").text:
        print("  pods of an earlier smoke test are left")
        tools.kubectl("delete", "pod", "-l", LABEL, "-n", NAMESPACE, "--ignore-not-found", "--wait=false")
    try:
        tools.kubectl("create", "-f", "-", stdin=pod, source="k8s/smoke-pod.yaml")
        if not tools.dry_run:
            _wait(tools, name)
    except JobError:
        _describe(tools, name)
        raise
    finally:
        _delete(tools, name)
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}"
    tools.kubectl("annotate", "namespace", NAMESPACE, f"{CHECKED}={now}", "--overwrite")


def _delete(tools: Tools, name: str) -> None:
    """Delete the pod; if that fails or is interrupted, print the command, since its node costs money."""
    words = ("delete", "pod", name, "-n", NAMESPACE, "--ignore-not-found", "--wait=false")
    try:
        tools.kubectl(*words)
    except (JobError, KeyboardInterrupt) as error:
        reason = str(error) or "interrupted"
        command = shlex.join(tools.kubectl_words(*words))
        print(f"  pod {name} may be left, and its node costs money ({reason}): {command}", flush=True)
        if isinstance(error, KeyboardInterrupt):
            raise


def _wait(tools: Tools, name: str) -> None:
    """Wait until the pod has ended, and print its log.

    Raises
    ------
    JobError
        If it has failed, does not end, or its image cannot be pulled.
    """
    pull_failures: list[str] = []

    def final_phase() -> str | None:
        result = tools.query("get", "pod", name, "-n", NAMESPACE, "-o", "json")
        pod_status = json.loads(result.text)["status"] if result.code == 0 else {}
        for container in pod_status.get("containerStatuses", []):
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("reason") in PULL_FAILURES:
                pull_failures.append(f"{waiting['reason']}: {waiting.get('message', 'no message')}")
        if len(pull_failures) > 1:  # the first pull can fail for a moment
            raise JobError(f"the pod of the smoke test cannot pull its image: {pull_failures[-1]}")
        phase = pod_status.get("phase")
        return phase if phase in ("Succeeded", "Failed") else None

    phase = tools.wait_until(final_phase, f"pod {name} has ended", minutes=TIMEOUT_MINUTES)
    log = tools.query("logs", name, "-n", NAMESPACE)
    lines = log.text.splitlines() or [f"its log cannot be read: {failure_reason(log)}"]
    print("\n".join(f"  {line}" for line in lines))
    if phase != "Succeeded":
        unreached = [line for line in lines if line.startswith("NOT reached")]
        raise JobError(f"the pod of the smoke test has failed: {(unreached or lines)[0]}")


def _describe(tools: Tools, name: str) -> None:
    """Print what Kubernetes knows of the pod, and Karpenter of the nodes that it asked EC2 for."""
    for words in (["pod", name, "-n", NAMESPACE], ["nodeclaims", "-l", "karpenter.sh/nodepool=drivers"]):
        print(f"+ kubectl describe {' '.join(words)}")
        result = tools.query("describe", *words)
        text = failure_reason(result) if result.code else result.text.strip() or "nothing"
        print("\n".join(f"  {line}" for line in text.splitlines()), flush=True)


def _pod(tools: Tools, aws: AwsClients, name: str) -> Any:
    """Return the pod's manifest."""
    aws_host = f"{tools.region}.amazonaws.com"
    addresses = [
        "https://kubernetes.default.svc/version",
        f"https://sts.{aws_host}/",
        f"https://logs.{aws_host}/",
        f"https://fruits-{tools.stage.name}-photos-{aws.account}.s3.{aws_host}/",
        f"https://api.ecr.{aws_host}/",
        f"https://{aws.account}.dkr.ecr.{aws_host}/v2/",
    ]
    values = {
        "PodName": name,
        "Namespace": NAMESPACE,
        "Image": _image(aws, tools.stage, tools.region),
        "Program": PROGRAM.read_text(encoding="utf-8"),
        "Addresses": addresses,
    }
    return manifests.fill(manifests.load("smoke-pod.yaml"), values)


def _image(aws: AwsClients, stage: Stage, region: str) -> str:
    """Return the image that was pushed last, or EMR's base image if there is none."""
    try:
        pages = aws.ecr.get_paginator("describe_images").paginate(repositoryName=stage.cluster)
        images = [image for page in pages for image in page["imageDetails"] if image.get("imageTags")]
    except ClientError as error:
        if error.response["Error"]["Code"] != "RepositoryNotFoundException":
            raise
        images = []
    if not images:
        repository = f"spark/emr-{release_value('EMR_RELEASE')}"
        return f"{EMR_REGISTRY}.dkr.ecr.{region}.amazonaws.com/{repository}:latest"
    newest = max(images, key=lambda image: image["imagePushedAt"])
    return f"{aws.account}.dkr.ecr.{region}.amazonaws.com/{stage.cluster}@{newest['imageDigest']}"
