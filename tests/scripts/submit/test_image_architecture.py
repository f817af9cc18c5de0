"""An image for another processor than the nodes' is refused before a run starts."""

import json
from typing import Any

import boto3
import pytest

from tests.scripts.submit.test_submit_errors import refused
from tests.support.aws_emulator import Answer, Request
from tests.support.cloud_stage import CloudStage

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIGURATION = "sha256:" + "c" * 64


def put_image(dev_stage: CloudStage, manifest: dict[str, Any]) -> str:
    """Put an image into the stage's repository, and return its digest."""
    ecr = boto3.client("ecr")
    text = json.dumps({"schemaVersion": 2, **manifest})
    image = ecr.put_image(
        repositoryName=dev_stage.outputs["RepositoryName"], imageManifest=text, imageTag="tag"
    )
    return str(image["image"]["imageId"]["imageDigest"])


def put_index(dev_stage: CloudStage, *architectures: str) -> str:
    """Put an image for several processors into the stage's repository, and return its digest."""
    entries = [{"platform": {"architecture": architecture}} for architecture in architectures]
    return put_image(dev_stage, {"mediaType": INDEX, "manifests": entries})


def put_single_image(dev_stage: CloudStage, configuration: bytes) -> str:
    """Put an image for one processor, and its configuration, into the stage's repository."""
    url = f"{dev_stage.cloud.url}/layers/configuration"

    def answer(request: Request) -> Answer | None:
        if request.action == "GetDownloadUrlForLayer":
            layer = json.loads(request.body)["layerDigest"]
            return Answer(200, json.dumps({"downloadUrl": url, "layerDigest": layer}).encode())
        return Answer(200, configuration) if request.path == "/layers/configuration" else None

    dev_stage.cloud.rules.append(answer)
    return put_image(dev_stage, {"mediaType": MANIFEST, "config": {"digest": CONFIGURATION}})


def test_an_image_for_another_processor_is_refused(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = put_single_image(dev_stage, b'{"architecture": "arm64", "os": "linux"}')
    sentence = refused(dev_stage, capsys, 2, "--detach", "--image", digest)
    assert "is for arm64, and the nodes are amd64: make a new commit" in sentence
    assert sentence.endswith("./scripts/push-image.sh --stage dev")


def test_an_index_without_the_nodes_processor_is_refused(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = put_index(dev_stage, "arm64", "unknown")
    assert "is for arm64, and" in refused(dev_stage, capsys, 2, "--detach", "--image", digest)


@pytest.mark.parametrize("kind", ["single", "index"])
def test_an_image_for_the_nodes_processor_is_started_without_a_warning(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    digest = (
        put_single_image(dev_stage, b'{"architecture": "amd64"}')
        if kind == "single"
        else put_index(dev_stage, "amd64", "arm64", "unknown")
    )
    assert dev_stage.submit("--detach", "--image", digest) == 0
    assert "processor" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, b'{"__type": "AccessDeniedException", "message": "no"}'),
        Answer(200, b'{"images": []}'),
        Answer(200, b'{"images": [{"imageManifest": "no JSON"}]}'),
        Answer(200, b'{"images": [{"imageManifest": "[1]"}]}'),
    ],
)
def test_an_image_whose_processor_nobody_tells_is_warned_of(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], answer: Answer
) -> None:
    dev_stage.cloud.rules.append(lambda request: answer if request.action == "BatchGetImage" else None)
    assert dev_stage.submit("--detach") == 0
    assert "warning: ECR does not tell the image's processor" in capsys.readouterr().err


def test_a_configuration_that_is_no_json_is_warned_of(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = put_single_image(dev_stage, b"<html>")
    assert dev_stage.submit("--detach", "--image", digest) == 0
    assert "does not tell the image's processor (JSONDecodeError)" in capsys.readouterr().err


def test_an_index_of_attestations_alone_is_warned_of(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = put_index(dev_stage, "unknown")
    assert dev_stage.submit("--detach", "--image", digest) == 0
    assert "warning: the image's index names no processor" in capsys.readouterr().err
