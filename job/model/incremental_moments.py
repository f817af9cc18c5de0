"""Keeps the moments of all featurized photos up to date with the table, for the PCA and the classifier.

They are saved with the names of the files that they cover. Files never change, so the moments of deleted
files are subtracted and those of new files merged: the result depends on the set of files alone.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from job.maths.grouped_moments import GroupedMoments, LabelSum, TableAccumulator, TableMoments
from job.maths.moments import from_half
from job.network.backbone import FEATURES
from job.storage import store
from job.table import files, layout
from job.table.layout import DataFile

MOMENTS_FILE: Final = "moments.npz"

ComputeMoments = Callable[[Sequence[DataFile]], TableMoments]


@dataclass(frozen=True, slots=True)
class SavedMoments:
    """Moments, and the number of rows of each file that they cover, by its path."""

    moments: TableMoments
    files: dict[str, int]


def update(
    output: str, featurized: Sequence[DataFile], compute_moments: ComputeMoments
) -> tuple[TableMoments, bool]:
    """Bring the saved moments up to date with the table's featurized files, save them, and return them.

    `compute_moments` returns the moments of one or more files. The second result tells whether saved moments
    could not be used, so that all were computed again.
    """
    rows = {file.path: file.rows for file in featurized}
    saved = load(output)
    if saved is not None and saved.files == rows:
        return saved.moments, False
    moments = _updated(output, featurized, saved, compute_moments) if saved is not None else None
    is_recomputed = moments is None or moments.features.n != sum(rows.values())
    if moments is None or is_recomputed:
        moments = compute_moments(featurized)
    save(output, SavedMoments(moments, rows))
    return moments, is_recomputed and saved is not None


def rename_files(output: str, names: Mapping[str, str], merged: Sequence[DataFile]) -> None:
    """Replace compacted files by the merged files that hold the same rows, in the saved moments.

    `names` maps the path of each compacted file to the path of its merged file.
    """
    saved = load(output)
    if saved is None or not names.keys() <= saved.files.keys():
        return  # the next run subtracts the old files and merges the new ones
    unchanged = {path: rows for path, rows in saved.files.items() if path not in names}
    save(output, SavedMoments(saved.moments, {**unchanged, **{file.path: file.rows for file in merged}}))


def file_moments(output: str, featurized: Sequence[DataFile]) -> TableMoments:
    """Return the moments of files of featurized photos, computed in this process."""
    accumulator = TableAccumulator(FEATURES)
    locations = (files.location(output, file.path) for file in featurized)
    for batch in files.batches(locations, ["features", "split", "label"]):
        rows = files.matrix(batch.column("features"), FEATURES)
        accumulator.add(rows, batch.column("split").to_pylist(), batch.column("label").to_pylist())
    return accumulator.moments()


def load(output: str) -> SavedMoments | None:
    """Return the saved moments, or None if they are missing or damaged."""
    try:
        data = store.read_bytes(store.join(output, layout.MOMENTS, MOMENTS_FILE))
        with np.load(io.BytesIO(data)) as arrays:
            index = json.loads(arrays["index"].tobytes())
            parts = {name: _grouped(name, index["groups"][name], arrays) for name in index["groups"]}
            moments = TableMoments(parts["features"], parts.get("roots"))
            return SavedMoments(moments, dict(index["files"]))
    except (FileNotFoundError, *store.DAMAGED_FILE_ERRORS):
        return None


def save(output: str, saved: SavedMoments) -> None:
    """Save moments and their files.

    Half of each symmetric scatter is written: for 1280 features 13 MB a split, and 10 kB a label.
    """
    arrays: dict[str, Any] = {}
    groups = {}
    for name, moments in (("features", saved.moments.features), ("roots", saved.moments.roots)):
        if moments is not None:
            groups[name] = _index(name, moments, arrays)
    index = json.dumps({"groups": groups, "files": saved.files}).encode()
    sink = io.BytesIO()
    np.savez(sink, index=np.frombuffer(index, np.uint8), **arrays)
    store.write_bytes(store.join(output, layout.MOMENTS, MOMENTS_FILE), sink.getvalue())


def _index(name: str, moments: GroupedMoments, arrays: dict[str, Any]) -> dict[str, Any]:
    """Add the arrays of grouped moments to `arrays`, and return what else :func:`_grouped` needs."""
    for number, part in enumerate(moments.splits.values()):
        arrays[f"{name}_mean_{number}"] = part.mean
        arrays[f"{name}_scatter_{number}"] = part.half()
    sums = [label.total for label in moments.labels.values()]
    arrays[f"{name}_sums"] = np.array(sums).reshape(len(sums), moments.width)
    return {
        "width": moments.width,
        "splits": [[split, part.n] for split, part in moments.splits.items()],
        "labels": [[*key, label.n] for key, label in moments.labels.items()],
    }


def _grouped(name: str, index: Mapping[str, Any], arrays: Mapping[str, Any]) -> GroupedMoments:
    splits = {
        split: from_half(n, arrays[f"{name}_mean_{number}"], arrays[f"{name}_scatter_{number}"])
        for number, (split, n) in enumerate(index["splits"])
    }
    sums = zip(index["labels"], arrays[f"{name}_sums"], strict=True)
    labels = {(split, label): LabelSum(n, total) for (split, label, n), total in sums}
    return GroupedMoments(index["width"], splits, labels)


def _updated(
    output: str, featurized: Sequence[DataFile], saved: SavedMoments, compute_moments: ComputeMoments
) -> TableMoments | None:
    """Return the moments with new files merged and deleted ones subtracted; None if all must be read."""
    paths = {file.path for file in featurized}
    new = [file for file in featurized if file.path not in saved.files]
    deleted = [DataFile(path, 0, rows) for path, rows in sorted(saved.files.items()) if path not in paths]
    if deleted:
        if sum(file.rows for file in (*new, *deleted)) > sum(file.rows for file in featurized):
            return None  # reading all files is less work
        existing = {location for location, _ in store.list_files(store.join(output, layout.PHOTOS))}
        if not existing.issuperset(files.location(output, file.path) for file in deleted):
            return None
    moments = saved.moments.merge(compute_moments(new)) if new else saved.moments
    # New files are merged first: the more rows remain, the fewer digits a subtraction costs.
    return moments.subtract(compute_moments(deleted)) if deleted else moments
