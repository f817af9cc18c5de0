"""Which files of features the moments and the matrix are of: what makes a run cost only what is new.

Both are kept with the version of every file they cover. A file that has another version now, or is not there
any more, was changed by a run that did not come to its end: what covers it is not trusted, and made again.
"""

import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from job import store
from job.moments import Moments
from job.store import Stored

# What a file raises that is empty or torn, as a power cut can leave it: what it held can be computed again.
DAMAGED: Final = (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile)
SUMS: Final = "moments.npz"
MATRIX: Final = "matrix.json"


@dataclass(frozen=True, slots=True)
class Sums:
    """Moments, and the files they are of: names to versions."""

    moments: Moments
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The model that the matrix was made with, and by file of features the version and the rows it covers."""

    model_id: str = ""
    files: dict[str, tuple[str, int]] = field(default_factory=dict)


def versions(files: Iterable[Stored]) -> dict[str, str]:
    """Return versions by the names of files."""
    return {file.location.rpartition("/")[2]: file.version for file in files}


def load_sums(output: str) -> Sums | None:
    """Return the kept moments, if there are any and they are whole."""
    try:
        data = store.read_bytes(store.join(output, store.MOMENTS, SUMS))
        with np.load(io.BytesIO(data)) as kept:
            mean = kept["mean"]
            lower = np.zeros((len(mean), len(mean)))
            lower[np.tril_indices(len(mean))] = kept["scatter"]
            scatter = lower + np.tril(lower, -1).T
            return Sums(Moments(int(kept["n"]), mean, scatter), json.loads(kept["files"].tobytes()))
    except (FileNotFoundError, *DAMAGED):
        return None


def save_sums(output: str, sums: Sums) -> None:
    """Keep moments: 6.6 MB for 1280 features, half of the symmetric scatter."""
    sink = io.BytesIO()
    moments = sums.moments
    np.savez(
        sink,
        n=np.int64(moments.n),
        mean=moments.mean,
        scatter=moments.scatter[np.tril_indices(len(moments.mean))],
        files=np.frombuffer(json.dumps(sums.files).encode(), np.uint8),
    )
    store.write_bytes(store.join(output, store.MOMENTS, SUMS), sink.getvalue())


def load_matrix(output: str) -> Matrix:
    """Return what the matrix covers; nothing if there is none."""
    try:
        said = json.loads(store.read_bytes(store.join(output, store.MOMENTS, MATRIX)))
        files = {name: (version, rows) for name, (version, rows) in said["files"].items()}
        return Matrix(said["model_id"], files)
    except (FileNotFoundError, *DAMAGED):
        return Matrix()


def save_matrix(output: str, matrix: Matrix) -> None:
    """Keep what the matrix covers."""
    said = {"model_id": matrix.model_id, "files": matrix.files}
    store.write_bytes(store.join(output, store.MOMENTS, MATRIX), json.dumps(said).encode())
