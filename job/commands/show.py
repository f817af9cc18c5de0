"""``job show``: what an output holds about some photos. It only reads, and so never waits for a writer."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from job.cli.log import Log
from job.commands.selection import Selection, find_photos
from job.errors import DataError
from job.storage import residency, store
from job.storage.residency import EU_REGIONS
from job.table import files, layout, path_lists, provenance, sweep
from job.table.commits import Snapshot


def run(
    output: str,
    selection: Selection,
    log: Log,  # noqa: ARG001 (all commands are called alike)
    regions: Sequence[str] = EU_REGIONS,
) -> dict[str, Any]:
    """Return the rows of the selected photos, with figures in place of the 1280 features.

    Raises
    ------
    DataError
        If the output holds none of the photos.
    UsageError
        If the output was not made by this job.
    """
    residency.check([output], regions)
    photos = _photos(output, selection)
    if not photos:
        names = ", ".join(sorted(selection.paths | selection.sha256))
        raise DataError(f"nothing is known of {names} in output {output}: check the spelling, or --output")
    return {"output": output, "photos": photos}


def summary(result: Mapping[str, Any]) -> str:
    """Return the result of a search as text, one line a field."""
    lines = [(name, _text(value)) for photo in result["photos"] for name, value in photo.items()]
    return "\n".join(f"{name:<20} {value}" for name, value in lines)


def _photos(output: str, selection: Selection) -> list[dict[str, Any]]:
    """Return the selected photos, by a new search if a file is replaced while it is read."""

    def find_in(snapshot: Snapshot) -> list[dict[str, Any]]:
        matches = find_photos(output, snapshot, selection)
        rows = [(file, path) for file, paths in matches.paths_by_file.items() for path in paths]
        photos = [_photo(output, snapshot, file, path) for file, path in rows]
        without_row = [path for path in _missing_paths(output, selection) if path not in matches.paths()]
        skipped = path_lists.read(output, layout.SKIPPED)
        skipped = skipped.filter(selection.path_mask(skipped["path"]))
        return [
            *photos,
            *({"path": path, "is_missing": True} for path in without_row),
            *({"path": row["path"], "skipped": row["kind"]} for row in skipped.to_pylist()),
        ]

    return provenance.read_table(output, find_in)


def _photo(output: str, snapshot: Snapshot, file: str, path: str) -> dict[str, Any]:
    """Return the fields of one photo: its row, its files, and its first principal components."""
    (row,) = _rows(files.location(output, file), path)
    features = row.pop("features")
    photo: dict[str, Any] = {"path": row.pop("path"), "outcome": layout.outcome_of(file), **row}
    if features is not None:
        photo["features"] = _figures(np.asarray(features, np.float64))
    photo |= {"file": f"{layout.PHOTOS}/{file}", "table_version": snapshot.version}
    model_id = sweep.current_model_id(output)
    matrix, csv = layout.matrix_paths(file, model_id)
    try:
        components = _rows(store.join(output, matrix), path)[0]["pca"]
        photo |= {"model_id": model_id, "components": len(components), "first_components": components[:5]}
        photo |= {"pca": matrix, "pca_csv": csv}
    except FileNotFoundError:
        if file not in provenance.existing_table(output).files:
            raise
    if store.is_file(store.join(output, layout.REPORT)):
        photo["may_be_shown_in"] = layout.REPORT
    photo["is_missing"] = bool(_missing_paths(output, Selection(frozenset([path]))))
    return {name: value for name, value in photo.items() if value is not None}


def _rows(location: str, path: str) -> list[dict[str, Any]]:
    table = files.read(location)
    rows: list[dict[str, Any]] = table.filter(files.photo_mask(table, [path])).to_pylist()
    return rows


def _missing_paths(output: str, selection: Selection) -> list[str]:
    """Return the selected photos that the last run no longer listed."""
    listed = path_lists.read(output, layout.MISSING)
    paths: list[str] = listed.filter(selection.path_mask(listed["path"]))["path"].to_pylist()
    return paths


def _figures(features: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return the count, range and norm of a photo's features ``(1280,)``."""
    extremes = {"min": features.min(), "max": features.max()}
    figures = {"count": len(features), **extremes, "norm": np.linalg.norm(features)}
    return {name: float(f"{value:.6g}") for name, value in figures.items()}


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(f"{number:.6g}" for number in value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
