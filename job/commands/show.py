"""``job show``: what an output knows of one photo. It only reads, and so does not wait for other commands."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from job.cli.arguments import EU_REGIONS
from job.cli.log import Log
from job.commands import search
from job.commands.search import Selection
from job.errors import DataError
from job.storage import residency, store
from job.table import claim, files, layout, missing, sweep
from job.table.commits import Snapshot


def run(
    output: str,
    selection: Selection,
    log: Log,  # noqa: ARG001 (commands are all called alike)
    regions: Sequence[str] = EU_REGIONS,
) -> dict[str, Any]:
    """Return what is known: the photos' rows, without the features themselves.

    Raises
    ------
    DataError
        If nothing is known.
    UsageError
        If the output is none of ours.
    """
    residency.check([output], regions)
    photos = _photos(output, selection)
    if not photos:
        what = ", ".join(sorted(selection.paths | selection.sha256))
        raise DataError(f"nothing is known of {what} in output {output}: check the spelling, or --output")
    return {"output": output, "photos": photos}


def summary(known: Mapping[str, Any]) -> str:
    """Return what is known, for people."""
    lines = [(name, _words(value)) for photo in known["photos"] for name, value in photo.items()]
    return "\n".join(f"{name:<20} {value}" for name, value in lines)


def _photos(output: str, selection: Selection) -> list[dict[str, Any]]:
    """Return the selected photos; looked for again if a file is replaced while it is read."""

    def look(snapshot: Snapshot) -> list[dict[str, Any]]:
        found = search.find(output, snapshot, selection)
        known = [(file, path) for file, paths in found.paths_of.items() for path in paths]
        photos = [_photo(output, snapshot, file, path) for file, path in known]
        without_row = [path for path in _missing(output, selection) if path not in found.paths()]
        return [*photos, *({"path": path, "is_missing": True} for path in without_row)]

    return claim.read_table(output, look)


def _photo(output: str, snapshot: Snapshot, file: str, path: str) -> dict[str, Any]:
    """Return what is known of a photo of the table."""
    (row,) = _rows(files.location(output, file), path)
    features = row.pop("features")
    known: dict[str, Any] = {"path": row.pop("path"), "outcome": layout.outcome_of(file), **row}
    if features is not None:
        known["features"] = _figures(np.asarray(features, np.float64))
    known |= {"file": f"{layout.PHOTOS}/{file}", "table_version": snapshot.version}
    model_id = sweep.current_model_id(output)
    matrix, csv = layout.matrix_paths(file, model_id)
    try:
        numbers = _rows(store.join(output, matrix), path)[0]["pca"]
        known |= {"model_id": model_id, "components": len(numbers), "first_components": numbers[:5]}
        known |= {"pca": matrix, "pca_csv": csv}
    except FileNotFoundError:
        if file not in claim.existing_table(output).files:
            raise
    known["is_missing"] = bool(_missing(output, Selection(frozenset([path]))))
    return {name: value for name, value in known.items() if value is not None}


def _rows(place: str, path: str) -> list[dict[str, Any]]:
    table = files.read(place)
    rows: list[dict[str, Any]] = table.filter(files.photo_mask(table, [path])).to_pylist()
    return rows


def _missing(output: str, selection: Selection) -> list[str]:
    """Return the selected photos that the last run did not find."""
    listed = missing.read(output)
    paths: list[str] = listed.filter(selection.by_path(listed["path"]))["path"].to_pylist()
    return paths


def _figures(numbers: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return figures of features, in the place of 1280 numbers."""
    ends = {"min": numbers.min(), "max": numbers.max()}
    figures = {"count": len(numbers), **ends, "norm": np.linalg.norm(numbers)}
    return {name: float(f"{value:.6g}") for name, value in figures.items()}


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(f"{number:.6g}" for number in value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
