"""A run's name stands for one run: sent twice, lost on the way, or taken already."""

import json

import boto3
import pytest

from tests.scripts.submit.test_submit import is_start
from tests.support.aws_emulator import Answer, Request
from tests.support.cloud_stage import Made


def test_the_same_name_is_the_same_run(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert made.submit("--run-id", "monday", "--detach") == 0
    assert len(made.cloud.runs()) == 1
    assert "run monday is there already, RUNNING" in capsys.readouterr().out
    assert made.submit("--run-id", "tuesday", "--detach") == 0
    assert len(made.cloud.runs()) == 2


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_the_name_of_a_run_that_did_not_succeed_is_not_used_again(
    made: Made, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    assert made.submit("--run-id", "monday", "--detach") == 0
    made.cloud.runs()[0].state = state
    assert made.submit("--run-id", "monday", "--detach") == 2
    assert f"run monday has ended, {state}: choose another --run-id" in capsys.readouterr().err


def test_a_name_that_stands_for_another_run_is_refused(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made.submit("--run-id", "monday", "--detach") == 0
    assert made.submit("--run-id", "monday", "--detach", "--", "--limit", "5") == 2
    assert "run monday is another one, with --input s3://" in capsys.readouterr().err
    assert len(made.cloud.runs()) == 1


def test_without_a_name_every_submission_is_a_new_run(made: Made) -> None:
    for _ in range(2):
        assert made.submit("--detach") == 0
    assert len({run.client_token for run in made.cloud.runs()}) == 2


def test_a_lost_answer_starts_no_second_run(made: Made) -> None:
    lost = False

    def lose(request: Request) -> Answer | None:
        nonlocal lost
        if not is_start(request) or lost:
            return None
        lost = True
        # EMR starts the run, and its answer never comes.
        body = json.loads(request.body)
        boto3.client("emr-containers").start_job_run(**body, virtualClusterId=made.virtual_cluster)
        return Answer(None)

    made.cloud.rules.append(lose)
    assert made.submit("--run-id", "monday", "--detach") == 0
    assert lost
    assert len(made.cloud.runs()) == 1
