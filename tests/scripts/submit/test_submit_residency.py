"""No part of a run is outside the EU: else submit.sh ends with 4, and nothing was started."""

from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.scripts.submit.test_submit_errors import refused
from tests.support.cloud_stage import CloudStage

ECR = "123456789012.dkr.ecr.{}.amazonaws.com"
DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-2"])
@pytest.mark.parametrize("option", ["--input", "--output"])
def test_a_bucket_outside_the_eu_is_refused_with_4(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], region: str, option: str
) -> None:
    configuration: Any = (
        {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    )
    boto3.client("s3", region_name=region).create_bucket(Bucket="far-away", **configuration)
    sentence = refused(dev_stage, capsys, 4, "--", option, "s3://far-away/photos")
    assert f"bucket 'far-away' is in {region}" in sentence


def test_a_region_outside_the_eu_is_refused_with_4(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "region us-east-1 is not one of the EU's" in refused(dev_stage, capsys, 4, "--region", "us-east-1")


def test_a_region_that_the_job_excludes_is_refused_with_4(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(dev_stage, capsys, 4, "--", "--regions", "eu-central-1")
    assert "region eu-west-1 is not among eu-central-1" in message


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (f"{ECR.format('us-east-1')}/fruits@{DIGEST}", "the image is in us-east-1"),
        (f"public.ecr.aws/fruits/fruits@{DIGEST}", "is not one of ECR's by digest"),
        (f"{ECR.format('eu-west-1')}/x --conf a=b@{DIGEST}", "is not one of ECR's by digest"),
        (f"{ECR.format('eu-west-1')}/fruits:latest", "is not one of ECR's by digest"),
    ],
)
def test_an_image_outside_the_eu_is_refused_with_4(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], image: str, sentence: str
) -> None:
    assert sentence in refused(dev_stage, capsys, 4, "--image", image)


def test_a_key_outside_the_eu_is_refused_with_4(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = dev_stage.outputs["KeyArn"].replace("eu-west-1", "us-east-1")
    monkeypatch.setattr(
        "scripts.cloud.stage.account_outputs", lambda *_: {**dev_stage.outputs, "KeyArn": arn}
    )
    assert "the key is in us-east-1" in refused(dev_stage, capsys, 4)


def test_s3_is_asked_with_the_credentials_that_were_named(
    dev_stage: CloudStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    file.write_text("[other]\naws_access_key_id = OTHERKEY\naws_secret_access_key = x\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    before = len(dev_stage.cloud.requests)
    assert dev_stage.submit("--profile", "other", "--detach") == 0
    assert {request.key for request in dev_stage.cloud.requests[before:]} == {"OTHERKEY"}


def test_a_place_in_the_eu_that_the_role_may_not_use_is_warned_of(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    boto3.client("s3", region_name="eu-west-3").create_bucket(
        Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"}
    )
    assert dev_stage.submit("--detach", "--", "--output", "s3://elsewhere/results") == 0
    message = capsys.readouterr().err
    assert "warning: the job's role has no rights to s3://elsewhere/results" in message
    assert message.count("has no rights") == 1
