"""``job show``: what an output knows of one photo, from every table. It only reads, and takes no lock."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from job import arguments, csv_lines, inventory, residency, rewrite, store, traces
from job.errors import DataError
from job.traces import Found, Selection

FIRST_COMPONENTS: Final = 5


@dataclass(frozen=True, slots=True)
class Question:
    """Which photo, and in which output."""

    output: str
    selection: Selection
    regions: tuple[str, ...] = arguments.EU_REGIONS


def run(question: Question) -> dict[str, Any]:
    """Return what is known: by path the rows of each table, without the features themselves.

    Raises
    ------
    DataError
        If nothing is known.
    UsageError
        If the output is none of ours.
    """
    place = question.output
    residency.check([place], question.regions)
    traces.check_ours(place)
    found = traces.find(
        place, question.selection, [name for name in traces.TABLES if name != store.PCA_CSV_TABLE]
    )
    paths = sorted(found.paths())
    if not paths:
        what = ", ".join(sorted(question.selection.paths | question.selection.sha256))
        raise DataError(f"nothing is known of {what} in output {place}: check the spelling, or --output")
    return {"output": place, "photos": [_photo(place, path, found) for path in paths]}


def summary(known: Mapping[str, Any]) -> str:
    """Return what is known, for people."""
    lines = []
    for photo in known["photos"]:
        lines.append(("path", photo["path"]))
        for table in ("features", "rejected", "pca"):
            for row in photo[table]:
                lines += [(f"{table}: {name}", _words(value)) for name, value in row.items()]
        lines += [(f"listed by run {one['run_id']}", one["file"]) for one in photo["listed"]]
        lines += [(f"missed by run {one['run_id']}", one["file"]) for one in photo["removed"]]
        lines += [("pca_csv: file", file) for file in photo["pca_csv"]]
    return "\n".join(f"{name:<40} {value}" for name, value in lines)


def _photo(place: str, path: str, found: Found) -> dict[str, Any]:
    """Return what is known of a photo; the run that made a row of features is its ``run_id``."""
    of = {
        table: [file for file, paths in found.of(table).items() if path in paths] for table in traces.TABLES
    }
    listed = [(file.split("/")[1], file) for file in of[store.INVENTORY]]
    missed = [one for one in listed if one[1].endswith(f"/{inventory.REMOVED}")]
    return {
        "path": path,
        "features": [_figures(row) for row in _rows(place, of[store.FEATURES_TABLE], path)],
        "rejected": _rows(place, of[store.REJECTED_TABLE], path),
        "pca": [_first(row) for row in _rows(place, of[store.PCA_TABLE], path)],
        "pca_csv": [file for file in map(_csv_beside, of[store.PCA_TABLE]) if _has_line(place, file, path)],
        "listed": [
            {"run_id": run_id, "file": file} for run_id, file in listed if (run_id, file) not in missed
        ],
        "removed": [{"run_id": run_id, "file": file} for run_id, file in missed],
    }


def _rows(place: str, files: list[str], path: str) -> list[dict[str, Any]]:
    rows = []
    for file in files:
        for row in rewrite.rows_of(store.join(place, file), [path]).to_pylist():
            row.pop("path")
            rows.append({"file": file, **row})
    return rows


def _csv_beside(file: str) -> str:
    """Return the CSV file that is of the same rows as a Parquet file of the matrix."""
    stem = file.removeprefix(f"{store.PCA_TABLE}/").removesuffix(".parquet")
    return f"{store.PCA_CSV_TABLE}/{stem}.csv"


def _has_line(place: str, file: str, path: str) -> bool:
    try:
        records = csv_lines.read(store.read_bytes(store.join(place, file))).records
    except FileNotFoundError:
        return False
    return any(name == path for name, _ in records)


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with figures of its features in their place."""
    numbers = np.asarray(row.pop("features"), np.float64)
    figures: dict[str, Any] = {"count": len(numbers)}
    if len(numbers):
        figures |= {"min": numbers.min(), "max": numbers.max(), "norm": np.linalg.norm(numbers)}
    return {**row, "features": {name: float(f"{value:.6g}") for name, value in figures.items()}}


def _first(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the matrix with its first components, and how many there are."""
    numbers = row.pop("pca")
    return {**row, "components": len(numbers), "first": numbers[:FIRST_COMPONENTS]}


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(f"{one:.6g}" for one in value)
    if isinstance(value, datetime):
        return value.isoformat()
    return "not known" if value is None else str(value)
