"""Quiet stderr: native output is suppressed unless the block fails, and stderr is restored."""

import os
import subprocess
import sys

import pytest

from job.network.quiet_stderr import quiet_stderr
from tests.support.spark_session import ROOT


def identity() -> tuple[int, int]:
    status = os.fstat(2)
    return status.st_dev, status.st_ino


def test_output_of_native_code_and_children_is_suppressed(capfd: pytest.CaptureFixture[str]) -> None:
    print("before", file=sys.stderr)
    with quiet_stderr():
        os.write(2, b"from C++\n")
        subprocess.run(["sh", "-c", "echo from a child >&2"], check=True)
    print("after", file=sys.stderr)
    assert capfd.readouterr().err == "before\nafter\n"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_output_is_printed_if_the_block_fails(
    error: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    output = b"why it failed\n" * 20_000  # more than a pipe holds
    with pytest.raises(error), quiet_stderr():
        os.write(2, output)
        raise error
    assert capfd.readouterr().err == output.decode()


def test_stderr_is_restored_however_the_block_ends() -> None:
    before, handles = identity(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with quiet_stderr(), quiet_stderr():
        assert identity() != before
    with pytest.raises(KeyboardInterrupt), quiet_stderr(), quiet_stderr():
        raise KeyboardInterrupt
    assert identity() == before
    assert len(os.listdir("/proc/self/fd")) == handles, "no handle is left open"  # noqa: PTH208


def test_buffered_text_stays_inside_or_outside_the_block() -> None:
    script = (
        "import io, sys\nfrom job.network.quiet_stderr import quiet_stderr\n"
        "sys.stderr = io.TextIOWrapper(io.BufferedWriter(io.FileIO(2, 'w', closefd=False)))\n"
        "sys.stderr.write('before ')\n"
        "with quiet_stderr(): sys.stderr.write('inside ')\n"
        "sys.stderr.write('after')\n"
        "sys.stderr.flush()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stderr == "before after"
