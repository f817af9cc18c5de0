"""The moments of all featurized photos: what is known is merged with what is new, and not summed up again.

They are kept with the names of the files that they are of. Files never change: those that have left the table
since are taken out, as long as they are still there, and those that have come are merged. So the moments
follow from the set of files alone, however it came to be.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from job.maths.moments import Moments, accumulate
from job.network.backbone import FEATURES
from job.storage import store
from job.table import files, layout
from job.table.layout import DataFile

SUMS: Final = "moments.npz"

Summed = Callable[[Sequence[DataFile]], Moments]


@dataclass(frozen=True, slots=True)
class Sums:
    """Moments, and the rows of each file that they are of, by its path."""

    moments: Moments
    files: dict[str, int]


def sum_up(output: str, featurized: Sequence[DataFile], summed: Summed) -> tuple[Moments, bool]:
    """Bring the kept moments up to date with the table, keep them, and return them.

    Parameters
    ----------
    output : str
    featurized : sequence of DataFile
        The table's files of featurized photos.
    summed : callable
        Returns the moments of some files; only called if there are any.

    Returns
    -------
    Moments
    bool
        Whether some were kept and could not be used, so that all were summed up anew.
    """
    now = {file.path: file.rows for file in featurized}
    kept = load(output)
    if kept is not None and kept.files == now:
        return kept.moments, False
    whole = _updated(output, featurized, kept, summed) if kept is not None else None
    anew = whole is None or whole.n != sum(now.values())
    if whole is None or anew:
        whole = summed(featurized)
    save(output, Sums(whole, now))
    return whole, anew and kept is not None


def renamed(output: str, names: Mapping[str, str], merged: Sequence[DataFile]) -> None:
    """Let the kept moments be of merged files that hold the same rows as those that they were of.

    Parameters
    ----------
    output : str
    names : mapping
        By each file that was merged, the path of the one that it is in now.
    merged : sequence of DataFile
        The new files.
    """
    kept = load(output)
    if kept is None or not names.keys() <= kept.files.keys():
        return  # the next run takes the old files out, and merges the new ones
    left = {path: rows for path, rows in kept.files.items() if path not in names}
    save(output, Sums(kept.moments, {**left, **{file.path: file.rows for file in merged}}))


def of_files(output: str, chosen: Sequence[DataFile]) -> Moments:
    """Return the moments of files, on the driver alone."""
    places = (files.location(output, file.path) for file in chosen)
    batches = files.batches(places, ["features"])
    return accumulate((files.matrix(batch.column(0), FEATURES) for batch in batches), FEATURES)


def load(output: str) -> Sums | None:
    """Return the kept moments, if there are any and they are whole."""
    try:
        data = store.read_bytes(store.join(output, layout.MOMENTS, SUMS))
        with np.load(io.BytesIO(data)) as kept:
            mean = kept["mean"]
            lower = np.zeros((len(mean), len(mean)))
            lower[np.tril_indices(len(mean))] = kept["scatter"]
            scatter = lower + np.tril(lower, -1).T
            names = dict(json.loads(kept["files"].tobytes()))
            return Sums(Moments(int(kept["n"]), mean, scatter), names)
    except (FileNotFoundError, *store.DAMAGED_FILE_ERRORS):
        return None


def save(output: str, sums: Sums) -> None:
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
    store.write_bytes(store.join(output, layout.MOMENTS, SUMS), sink.getvalue())


def _updated(output: str, featurized: Sequence[DataFile], kept: Sums, summed: Summed) -> Moments | None:
    """Return the kept moments with the files that came, without those that went; None if it cannot be."""
    now = {file.path for file in featurized}
    come = [file for file in featurized if file.path not in kept.files]
    gone = [DataFile(path, 0, rows) for path, rows in sorted(kept.files.items()) if path not in now]
    if gone:
        if sum(file.rows for file in (*come, *gone)) > sum(file.rows for file in featurized):
            return None  # all of them are fewer
        there = {location for location, _ in store.list_files(store.join(output, layout.PHOTOS))}
        if not there.issuperset(files.location(output, file.path) for file in gone):
            return None
    whole = kept.moments.merge(summed(come)) if come else kept.moments
    # What comes, first: the more rows are left, the fewer digits go with those taken out.
    return whole.without(summed(gone)) if gone else whole
