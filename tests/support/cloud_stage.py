"""A stage of the cloud in the emulator: its stack from k8s/account.yaml, a virtual cluster and an image."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3

from scripts.cloud.stage import NAMESPACE, Stage, account_outputs
from scripts.submit import __main__ as submit
from tests.support.aws_emulator import Cloud

K8S: Final = Path(__file__).parents[2] / "k8s"
DEV: Final = Stage("dev")
MANIFEST: Final = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"})


@dataclass
class CloudStage:
    """A stage's stack outputs, virtual cluster and image, in the emulator."""

    cloud: Cloud
    outputs: dict[str, str]
    virtual_cluster: str
    image: str
    waited: list[float]

    def submit(self, *arguments: str) -> int:
        """Run submit.sh in this process, without real waiting."""
        return submit.main([*arguments], wait=self.waited.append)

    def log(
        self, run_id: str, *lines: dict[str, Any] | str, pod: str = "spark-x-driver", kind: str = "stdout"
    ) -> None:
        """Write lines to a run's log, as EMR's sidecar does."""
        logs = boto3.client("logs")
        job = self.cloud.runs()[-1].id if self.cloud.runs() else "none"
        stream = f"{run_id}/{self.virtual_cluster}/jobs/{job}/containers/spark-app/{pod}/{kind}"
        group = self.outputs["LogGroup"]
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=stream)["logStreams"]
        if not streams:
            logs.create_log_stream(logGroupName=group, logStreamName=stream)
        now = 1_795_000_000_000 + len(self.cloud.requests)
        events = [
            {"timestamp": now, "message": line if isinstance(line, str) else json.dumps(line)}
            for line in lines
        ]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def line(event: str, message: str, **fields: Any) -> dict[str, Any]:
    """Return a line as the job writes it."""
    return {"ts": "2026-11-22T05:00:00.000Z", "level": "info", "event": event, "message": message, **fields}


def make(cloud: Cloud) -> CloudStage:
    """Make a stage in the emulator."""
    formation = boto3.client("cloudformation")
    formation.create_stack(
        StackName=DEV.account_stack,
        TemplateBody=(K8S / "account.yaml").read_text(),
        Parameters=[{"ParameterKey": "Stage", "ParameterValue": "dev"}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    stack_outputs = account_outputs(formation, DEV)
    virtual = make_virtual_cluster()
    digest = push(stack_outputs["RepositoryName"], "abc123")
    return CloudStage(cloud, stack_outputs, virtual, f"{stack_outputs['RepositoryUri']}@{digest}", [])


def make_virtual_cluster(namespace: str = NAMESPACE) -> str:
    """Make a virtual cluster on the stage's EKS cluster, and return its id."""
    identifier: str = boto3.client("emr-containers").create_virtual_cluster(
        name=DEV.cluster,
        clientToken=namespace,
        containerProvider={"type": "EKS", "id": DEV.cluster, "info": {"eksInfo": {"namespace": namespace}}},
    )["id"]
    return identifier


def push(repository: str, tag: str) -> str:
    """Put an image into ECR, and return its digest."""
    ecr = boto3.client("ecr")
    image = ecr.put_image(repositoryName=repository, imageManifest=MANIFEST + " " * len(tag), imageTag=tag)
    digest: str = image["image"]["imageId"]["imageDigest"]
    return digest
