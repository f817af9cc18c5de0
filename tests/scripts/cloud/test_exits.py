"""How the commands end: one sentence and one exit code for each error."""

import os
import signal

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.parsers import ResponseParserError

from job.errors import ResidencyError, UsageError
from scripts.cloud.exits import exit_code_of

DENIED = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")


@pytest.mark.parametrize(
    ("error", "exit_code", "sentence"),
    [
        (UsageError("--size is wrong"), 2, "--size is wrong"),
        (ResidencyError("elsewhere"), 4, "elsewhere"),
        (KeyboardInterrupt(), 130, "interrupted; start again"),
        (KeyboardInterrupt("step key: interrupted"), 130, "step key: interrupted"),
        (DENIED, 6, "these credentials may not PutObject: ask an administrator for that right"),
        (NoCredentialsError(), 6, "no AWS credentials (NoCredentialsError): log in, or name a profile"),
        (EndpointConnectionError(endpoint_url="x"), 6, "AWS could not be asked (EndpointConnectionError)"),
        (ResponseParserError("<html>"), 6, "AWS's answer cannot be read"),
        (ValueError("Invalid endpoint: x"), 2, "AWS_ENDPOINT_URL is no URL"),
    ],
)
def test_an_error_is_one_sentence_and_an_exit_code(
    error: BaseException, exit_code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        raise error

    assert exit_code_of(work, "interrupted; start again") == exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {sentence}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_interrupts_the_work_and_its_handler_comes_back(number: signal.Signals) -> None:
    handler = signal.getsignal(number)

    def work() -> int:
        os.kill(os.getpid(), number)
        raise AssertionError("the work goes on")

    assert exit_code_of(work) == 130
    assert signal.getsignal(number) == handler


def test_a_fault_of_the_code_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code_of(lambda: 1 // 0)
    assert exit_code_of(lambda: 5) == 5
