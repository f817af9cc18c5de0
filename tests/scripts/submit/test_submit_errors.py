"""What keeps submit.sh from starting or following a run: one sentence, the right code, nothing half-made."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

from scripts.cloud.stage import Stack
from scripts.submit import __main__ as submit
from tests.scripts.submit.test_submit import is_start
from tests.support.aws_emulator import Answer, Cloud
from tests.support.checked.requests import calls
from tests.support.cloud_stage import CloudStage, make_virtual_cluster, push

ROOT = Path(__file__).parents[3]


def refused(dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """Run submit.sh, and return its one sentence."""
    assert dev_stage.submit(*arguments) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert not dev_stage.cloud.runs()
    assert not boto3.client("s3").list_objects_v2(Bucket=dev_stage.outputs["ResultsBucket"]).get("Contents")
    return errors[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--size", "huge"), "argument --size: invalid choice: 'huge'"),
        (("--no-such",), "unrecognized arguments: --no-such"),
        (("--run-id", "a b"), "'a b' is not 1 to 63 letters and digits"),
        (("--run-id", "x" * 64), "is not 1 to 63 letters and digits"),
        (("--poll", "0"), "0 is not a number of seconds from 1 to 3600"),
        (("--image", ""), "--image is empty"),
        (("--size", "large"), "stage dev takes runs up to --size medium"),
        (("cancel", "monday", "--dry-run"), "unrecognized arguments: --dry-run"),
        (("follow", "monday", "--size", "small"), "unrecognized arguments: --size"),
        (("--", "--input", "s3://photos/\udcff"), "has a sign that is no text"),
        (("list", "--", "--limit", "5"), "list takes no job options: --limit 5"),
        (("follow",), "the following arguments are required: RUN"),
        (("--", "--variance", "2"), "--variance: '2' is not a number from 0 to 1"),
        (("--", "--components", "5", "--variance", "0.9"), "exclude each other"),
        (("--", "--input", "photos"), "is a folder, which pods do not see"),
        (("--", "--run-id", "x"), "--run-id is not for the job in the cloud: give it before --"),
        (("--", "--log-format=text"), "--log-format is not for the job in the cloud"),
        (("--", "--weights", "w.h5"), "--weights is not for the job in the cloud"),
        (("--", "--input", "s3://photos/a(1)"), "EMR takes no argument with one of ( ) { } [ ] in it"),
        (("--", "--input", "s3://photos/[a]"), "EMR takes no argument with one of ( ) { } [ ] in it"),
        (("--", "--input", ""), "EMR takes no empty argument"),
        (("--image", "v9"), "there is no image v9 in repository fruits-dev: push one"),
        (("--virtual-cluster", "abc"), "virtual cluster abc does not run on fruits-dev"),
        (("follow", "nobody"), "there is no run nobody on virtual cluster"),
    ],
)
def test_wrong_arguments_end_with_2(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert sentence in refused(dev_stage, capsys, 2, *arguments)


def test_a_stack_of_somebody_elses_is_refused(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = Stack("fruits-dev", "CREATE_COMPLETE", {"Other": "x"}, {})
    monkeypatch.setattr("scripts.cloud.stage.find_stack", lambda *_: foreign)
    assert "stack fruits-dev lacks ExecutionRoleArn, KeyArn" in refused(dev_stage, capsys, 2)


def test_a_bucket_that_is_not_there_is_named(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no bucket 'nowhere'" in refused(dev_stage, capsys, 2, "--", "--input", "s3://nowhere/x")


def test_two_virtual_clusters_are_asked_about(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_virtual_cluster("another")
    sentence = refused(dev_stage, capsys, 2)
    assert "2 virtual clusters run on fruits-dev: name one of" in sentence
    assert other in sentence
    assert dev_stage.submit("--virtual-cluster", other, "--run-id", "monday", "--detach") == 0
    assert dev_stage.cloud.runs()[0].virtual_cluster_id == other


def test_no_virtual_cluster_is_said(dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]) -> None:
    boto3.client("emr-containers").delete_virtual_cluster(id=dev_stage.virtual_cluster)
    sentence = refused(dev_stage, capsys, 2)
    expected = "no virtual cluster runs on EKS cluster fruits-dev: make it with ./scripts/cluster.sh up"
    assert expected in sentence


def test_no_stack_is_said(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert not cloud.runs()
    assert submit.main(["--stage", "prod"]) == 2
    message = "there is no stack fruits-prod in eu-west-1: make it with ./scripts/cluster.sh up --stage prod"
    assert capsys.readouterr().err == f"error: {message}\n"


def test_the_newest_image_is_taken_unless_a_tag_or_digest_is_named(
    dev_stage: CloudStage, tmp_path: Path
) -> None:
    newer = push(dev_stage.outputs["RepositoryName"], "newer")
    for image in _images():
        image.image_pushed_at = 2_000_000_000 if image.image_tag == "newer" else 1_000_000_000
    for image_option in ((), ("--image", "abc123"), ("--image", newer)):
        assert dev_stage.submit("--detach", *image_option) == 0
    requests = [call.request for call in calls(tmp_path / "api-calls") if call.operation == "StartJobRun"]
    parameters = [
        request["jobDriver"]["sparkSubmitJobDriver"]["sparkSubmitParameters"] for request in requests
    ]
    images = [words.split()[1] for words in parameters]
    repository = dev_stage.outputs["RepositoryUri"]
    assert images == [
        f"spark.kubernetes.container.image={image}"
        for image in (f"{repository}@{newer}", dev_stage.image, f"{repository}@{newer}")
    ]


def _images() -> list[Any]:
    from moto.ecr.models import ecr_backends  # noqa: PLC0415 (the emulator's own memory)

    return list(ecr_backends["123456789012"]["eu-west-1"].repositories["fruits-dev"].images)


def test_an_empty_repository_says_how_to_push(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = dev_stage.image.partition("@")[2]
    boto3.client("ecr").batch_delete_image(repositoryName="fruits-dev", imageIds=[{"imageDigest": digest}])
    sentence = refused(dev_stage, capsys, 2)
    assert (
        "there is no image yet in repository fruits-dev: push one with ./scripts/push-image.sh --stage dev"
        in sentence
    )


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (400, "ExpiredTokenException", "the credentials have expired (DescribeStacks): log in again"),
        (403, "InvalidClientTokenId", "AWS does not accept the credentials"),
        (403, "AccessDenied", "these credentials may not DescribeStacks"),
        (400, "Throttling", "AWS throttled DescribeStacks six times"),
    ],
)
def test_a_refusal_of_aws_ends_with_6(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], status: int, code: str, sentence: str
) -> None:
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>".encode()
    answer = Answer(status, body, (("Content-Type", "text/xml"),))
    dev_stage.cloud.fail_once(lambda request: request.action == "DescribeStacks", *[answer] * 6)
    assert sentence in refused(dev_stage, capsys, 6)


def test_throttling_is_tried_again(dev_stage: CloudStage) -> None:
    slow = Answer(429, b'{"message": "slow down"}', (("x-amzn-ErrorType", "ThrottlingException"),))
    dev_stage.cloud.fail_once(is_start, slow, slow)
    assert dev_stage.submit("--run-id", "monday", "--detach") == 0
    assert len(dev_stage.cloud.runs()) == 1
    assert sum(map(is_start, dev_stage.cloud.requests)) == 3


def test_no_credentials_and_an_unknown_profile_end_with_6(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.delenv("AWS_ACCESS_KEY_ID")
        without.delenv("AWS_SECRET_ACCESS_KEY")
        assert dev_stage.submit() == 6
    assert capsys.readouterr().err == (
        "error: no AWS credentials (NoCredentialsError): log in, or name a profile with --profile\n"
    )
    assert dev_stage.submit("--profile", "nobody") == 6
    assert "there is no AWS profile nobody: look at ~/.aws/config" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("--help",), ("list",), ("--stage", "dev")])
def test_an_unknown_stage_of_the_environment_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FRUITS_STAGE", "test")
    assert submit.main(arguments) == 2
    assert capsys.readouterr().err == "error: FRUITS_STAGE is 'test', not one of dev, prod\n"


def test_the_help_names_the_stage_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRUITS_STAGE", "prod")
    with pytest.raises(SystemExit):
        submit.main(["--help"])
    assert "default prod" in capsys.readouterr().out


def test_a_refused_start_is_said_and_can_be_tried_again(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = Answer(
        400, b'{"message": "role is not assumable"}', (("x-amzn-ErrorType", "ValidationException"),)
    )
    dev_stage.cloud.fail_once(is_start, refusal)
    assert dev_stage.submit("--run-id", "monday") == 6
    stderr = capsys.readouterr().err
    assert "AWS refuses StartJobRun (ValidationException): role is not assumable" in stderr
    assert not dev_stage.cloud.runs()
    assert dev_stage.submit("--run-id", "monday", "--detach") == 0


def test_a_start_that_nobody_answers_says_how_to_go_on(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    dev_stage.cloud.rules.append(lambda request: Answer(None) if is_start(request) else None)
    assert dev_stage.submit("--run-id", "monday") == 6
    stderr = capsys.readouterr().err
    assert "the same command with --run-id monday starts it once and no more" in stderr


def test_a_reader_that_goes_away_is_no_traceback(dev_stage: CloudStage) -> None:
    assert dev_stage.submit("--run-id", "monday", "--detach") == 0
    command = f"{sys.executable} {ROOT}/scripts/submit/__main__.py list | true"
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in process.stderr
