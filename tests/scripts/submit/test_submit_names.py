"""A run's name stands for one run: sent twice, lost on the way, or used already."""

import json

import boto3
import pytest

from tests.scripts.submit.test_submit import is_start
from tests.support.aws_emulator import Answer, Request
from tests.support.cloud_stage import CloudStage


def test_the_same_name_is_the_same_run(dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert dev_stage.submit("--run-id", "monday", "--detach") == 0
    assert len(dev_stage.cloud.runs()) == 1
    assert "run monday is there already, RUNNING" in capsys.readouterr().out
    assert dev_stage.submit("--run-id", "tuesday", "--detach") == 0
    assert len(dev_stage.cloud.runs()) == 2


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_the_name_of_a_run_that_did_not_succeed_is_not_used_again(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    assert dev_stage.submit("--run-id", "monday", "--detach") == 0
    dev_stage.cloud.runs()[0].state = state
    assert dev_stage.submit("--run-id", "monday", "--detach") == 2
    assert f"run monday has ended, {state}: choose another --run-id" in capsys.readouterr().err


def test_a_name_that_stands_for_another_run_is_refused(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dev_stage.submit("--run-id", "monday", "--detach") == 0
    assert dev_stage.submit("--run-id", "monday", "--detach", "--", "--limit", "5") == 2
    assert "run monday is another one, with --input s3://" in capsys.readouterr().err
    assert len(dev_stage.cloud.runs()) == 1


def test_without_a_name_every_submission_is_a_new_run(dev_stage: CloudStage) -> None:
    for _ in range(2):
        assert dev_stage.submit("--detach") == 0
    assert len({run.client_token for run in dev_stage.cloud.runs()}) == 2


def test_a_lost_answer_starts_no_second_run(dev_stage: CloudStage) -> None:
    lost = False

    def lose(request: Request) -> Answer | None:
        nonlocal lost
        if not is_start(request) or lost:
            return None
        lost = True
        # EMR starts the run, and its answer never comes.
        body = json.loads(request.body)
        boto3.client("emr-containers").start_job_run(**body, virtualClusterId=dev_stage.virtual_cluster)
        return Answer(None)

    dev_stage.cloud.rules.append(lose)
    assert dev_stage.submit("--run-id", "monday", "--detach") == 0
    assert lost
    assert len(dev_stage.cloud.runs()) == 1
