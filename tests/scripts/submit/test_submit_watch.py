"""While a run is watched: Ctrl-C is asked about, a lost line is waited for, and the way back is told."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest

from scripts.submit import __main__ as submit
from tests.scripts.submit.test_submit import is_start, schedule_states
from tests.support.aws_emulator import Answer, Request
from tests.support.cloud_stage import CloudStage, line

ROOT = Path(__file__).parents[3]


class Interrupt:
    """Stands in for waiting: presses Ctrl-C the first time."""

    def __init__(self) -> None:
        self.left = 1

    def __call__(self, _: float) -> None:
        if self.left:
            self.left -= 1
            raise KeyboardInterrupt


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    return monkeypatch


def test_c_cancels_and_waits_for_the_end(
    dev_stage: CloudStage, terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setattr("builtins.input", lambda: "c")
    dev_stage.cloud.states.append({"state": "PENDING"})
    assert submit.main(["--run-id", "monday"], wait=Interrupt()) == 5
    assert dev_stage.cloud.runs()[0].state == "CANCELLED"
    assert "run monday was cancelled" in capsys.readouterr().err


def press(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("is_terminal", "answer"),
    [(True, lambda: ""), (True, press), (False, lambda: pytest.fail("nobody is there to answer"))],
    ids=["Enter", "a second Ctrl-C", "no terminal"],
)
def test_only_watching_stops_unless_somebody_says_c(
    dev_stage: CloudStage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_terminal: bool,
    answer: Callable[[], str],
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr("builtins.input", answer)
    dev_stage.cloud.states += [{"state": "PENDING"}, {"state": "RUNNING"}]
    assert submit.main(["--run-id", "monday"], wait=Interrupt()) == 130
    stderr = capsys.readouterr().err
    assert ("cancel run monday (c), or only stop watching (Enter)?" in stderr) == is_terminal
    assert "it goes on: ./scripts/submit.sh follow monday" in stderr
    assert dev_stage.cloud.runs()[0].state != "CANCELLED"


def test_a_real_terminal_is_asked(dev_stage: CloudStage) -> None:
    """Real signals to a real process on a terminal of its own: the whole way, once."""
    dev_stage.cloud.states += [{"state": "RUNNING"}]
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-B", "-m", "scripts.submit", "--run-id", "monday", "--poll", "60"],
        stdin=its, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ), cwd=ROOT,
        start_new_session=True, text=True,
    )  # fmt: skip
    os.close(its)
    try:
        assert process.stdout is not None
        line_text = ""
        while "RUNNING" not in line_text:
            line_text = process.stdout.readline()
            assert line_text, "it ended before it watched"
        process.send_signal(signal.SIGINT)
        os.write(ours, b"c\n")
        rest = process.stdout.read()
        assert process.wait(60) == 5, rest
        assert "cancel run monday (c)" in rest
        assert dev_stage.cloud.runs()[0].state == "CANCELLED"
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_lost_network_is_waited_for(dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]) -> None:
    lost = [Answer(None)] * 14  # two whole rounds of botocore's own tries, and a part of a third

    def described(request: Request) -> bool:
        return request.method == "GET" and "/jobruns/" in request.path

    dev_stage.cloud.fail_once(described, *lost)
    schedule_states(dev_stage, "RUNNING", "COMPLETED")
    assert dev_stage.submit("--run-id", "monday") == 0
    stdout = capsys.readouterr().out
    assert stdout.count("AWS could not be asked") == 1
    assert "the run goes on; submit.sh tries again" in stdout
    assert "AWS answers again" in stdout


def test_credentials_that_expire_while_watching_say_how_to_go_on(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    expired = Answer(403, b'{"message": "expired"}', (("x-amzn-ErrorType", "ExpiredTokenException"),))
    dev_stage.cloud.states.append({"state": "RUNNING"})
    dev_stage.cloud.rules.append(
        lambda request: expired if "/jobruns/" in request.path and not dev_stage.cloud.states else None
    )
    assert dev_stage.submit("--run-id", "monday") == 6
    stderr = capsys.readouterr().err
    assert "the run goes on: ./scripts/submit.sh follow monday" in stderr
    assert "the credentials have expired" in stderr


def test_a_log_that_may_not_be_read_does_not_end_the_watch(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    denied = Answer(400, b'{"__type": "AccessDeniedException", "message": "no"}')
    dev_stage.cloud.rules.append(lambda request: denied if request.action == "DescribeLogStreams" else None)
    schedule_states(dev_stage, "RUNNING", "RUNNING", "FAILED", state_details="exceeded quota")
    assert dev_stage.submit("--run-id", "monday") == 1
    shown = capsys.readouterr()
    assert shown.out.count("the driver's log cannot be shown") == 1
    assert "choose a smaller --size" in shown.err


def test_an_interrupt_before_the_start_starts_nothing(
    dev_stage: CloudStage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.submit.lookups.image_by_digest", press)
    assert dev_stage.submit("--run-id", "monday") == 130
    assert capsys.readouterr().err == "error: interrupted\n"
    assert not dev_stage.cloud.runs()


def test_a_run_that_ends_while_it_is_cancelled_is_told_as_it_ended(
    dev_stage: CloudStage, terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer() -> str:
        dev_stage.cloud.runs()[0].state = "COMPLETED"
        return "c"

    terminal.setattr("builtins.input", answer)
    dev_stage.cloud.states.append({"state": "PENDING"})
    assert submit.main(["--run-id", "monday"], wait=Interrupt()) == 0
    assert "COMPLETED" in capsys.readouterr().out


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_says_how_to_find_the_run(
    dev_stage: CloudStage,
    terminal: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sign: signal.Signals,
) -> None:
    terminal.setattr("builtins.input", lambda: pytest.fail("nobody is there to answer"))
    dev_stage.cloud.states.append({"state": "RUNNING"})
    assert submit.main(["--run-id", "monday"], wait=lambda _: os.kill(os.getpid(), sign)) == 130
    assert "it goes on: ./scripts/submit.sh follow monday" in capsys.readouterr().err
    assert dev_stage.cloud.runs()[0].state == "RUNNING"


@pytest.mark.parametrize("poll", [1, 5])
def test_a_line_that_is_late_is_waited_for(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], poll: int
) -> None:
    reason = line("run_failed", "bucket 'far' is in London", exit_code=4) | {"level": "error"}
    failed = {"state": "FAILED", "failure_reason": "USER_ERROR"}
    late = {**failed, "then": lambda: dev_stage.log("monday", reason)}
    dev_stage.cloud.states += [{"state": "RUNNING"}, *[failed] * (29 // poll), late]
    assert dev_stage.submit("--run-id", "monday", "--poll", str(poll)) == 4
    assert "run monday failed: bucket 'far' is in London" in capsys.readouterr().err


def test_a_line_that_never_comes_is_waited_for_half_a_minute(dev_stage: CloudStage) -> None:
    schedule_states(dev_stage, "RUNNING", "FAILED")
    assert dev_stage.submit("--run-id", "monday", "--poll", "2") == 1
    assert sum(dev_stage.waited) == 2 + 30


def test_the_exit_code_of_a_driver_that_may_be_tried_again_is_the_jobs_own(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = line("run_failed", "20 of 100 photos were rejected", exit_code=3) | {"level": "error"}
    dev_stage.cloud.states += [
        {"state": "RUNNING"},
        {"state": "FAILED", "then": lambda: dev_stage.log("monday", reason, pod="spark-x-driver-x7k2p")},
    ]
    assert dev_stage.submit("--run-id", "monday", "--attempts", "3") == 3
    assert "error: 20 of 100 photos were rejected" in capsys.readouterr().out


def test_a_second_attempt_is_judged_by_its_own_words(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    first = [line("run_started", "run monday"), line("run_failed", "S3 failed", exit_code=3)]
    again = line("run_started", "again")
    dev_stage.cloud.states += [
        {"state": "RUNNING", "then": lambda: dev_stage.log("monday", *first)},
        {"state": "RUNNING", "then": lambda: dev_stage.log("monday", again, pod="y-driver")},
        {"state": "FAILED", "state_details": "OOMKilled"},
    ]
    assert dev_stage.submit("--run-id", "monday") == 1
    stderr = capsys.readouterr().err
    assert "run monday failed: OOMKilled" in stderr
    assert "out of memory" in stderr


def test_the_way_back_names_all_that_it_needs(
    dev_stage: CloudStage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRUITS_STAGE", "prod")
    where = ("--stage", "dev", "--virtual-cluster", dev_stage.virtual_cluster)
    assert dev_stage.submit("--run-id", "monday", "--detach", *where) == 0
    follow = f"./scripts/submit.sh follow monday --stage dev --virtual-cluster {dev_stage.virtual_cluster}"
    assert capsys.readouterr().out == f"started: {follow}\n"


def test_an_interrupt_during_the_start_says_how_to_go_on(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(request: Request) -> None:
        if is_start(request):
            os.kill(os.getpid(), signal.SIGINT)

    dev_stage.cloud.rules.append(lose)
    assert dev_stage.submit("--run-id", "monday") == 130
    assert "the same command with --run-id monday starts it once and no more" in capsys.readouterr().err


LONG_AGO = timedelta(minutes=11)
NOTHING_READ = line("progress", "0 of 1,560 photos", done=0)


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ([], "the pods may have no nodes"),
        (
            [NOTHING_READ],
            "the driver is at work: it may still be listing photos, or its executors have no nodes",
        ),
    ],
    ids=["no driver", "no executor"],
)
def test_a_run_without_a_photo_says_after_ten_minutes_where_to_look(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], lines: list[dict[str, Any]], cause: str
) -> None:
    running = {"state": "RUNNING", "created_at": datetime.now(UTC) - LONG_AGO}
    written = {**running, "then": lambda: dev_stage.log("monday", *lines)} if lines else running
    dev_stage.cloud.states += [written, running, running, {"state": "COMPLETED"}]
    assert dev_stage.submit("--run-id", "monday") == 0
    stdout = capsys.readouterr().out
    assert stdout.count("no photo after 11 minutes") == 1
    assert f"no photo after 11 minutes: {cause}; look with an administrator's rights, or ask" in stdout
    kubectl = "kubectl --kubeconfig build/kubeconfig-dev"
    assert f"{kubectl} -n fruits get pods\n" in stdout
    assert f"{kubectl} -n fruits describe pods -l fruits/run=monday\n" in stdout
    assert f"{kubectl} get nodeclaims\n" in stdout
    assert "log group /aws/eks/fruits-dev/cluster" in stdout


@pytest.mark.parametrize("event", [line("progress", "", done=1), line("nothing_new", "nothing new")])
def test_a_run_that_has_read_photos_or_needs_none_is_left_alone(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], event: dict[str, Any]
) -> None:
    running = {"state": "RUNNING", "created_at": datetime.now(UTC) - LONG_AGO}
    written = {**running, "then": lambda: dev_stage.log("monday", event)}
    dev_stage.cloud.states += [written, running, {"state": "COMPLETED"}]
    assert dev_stage.submit("--run-id", "monday") == 0
    assert "no photo" not in capsys.readouterr().out


def test_a_young_run_is_left_alone(dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]) -> None:
    schedule_states(dev_stage, "PENDING", "RUNNING", "COMPLETED")
    assert dev_stage.submit("--run-id", "monday") == 0
    assert "no photo" not in capsys.readouterr().out


def test_the_hint_is_one_object_of_json(dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]) -> None:
    dev_stage.cloud.states += [
        {"state": "PENDING", "created_at": datetime.now(UTC) - LONG_AGO},
        {"state": "COMPLETED"},
    ]
    assert dev_stage.submit("--run-id", "monday", "--json") == 0
    events = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    (hint,) = [event for event in events if event["event"] == "hint"]
    assert "ask an administrator" in hint["message"]
    assert len(hint["commands"]) == 4
    assert hint["log"] == "/aws/eks/fruits-dev/cluster"
