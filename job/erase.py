"""``job erase``: every trace of some photos leaves an output, and what is made of them is mended.

First go the traces that only tell of a photo, then its part of the matrix, and last its row of ``features``:
by that row alone a hash leads to a path, so whoever is stopped says the same again and it goes on. A run in
between finds the matrix doubted and makes it anew; no photo is ever half known to it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from job import (
    __version__,
    arguments,
    coverage,
    csv_lines,
    drops,
    mend,
    output,
    residency,
    retention,
    store,
    traces,
)
from job.lock import Held
from job.log import Log
from job.moments import Moments
from job.traces import Found, Selection

FIRST: Final = (store.INVENTORY, store.REJECTED_TABLE)


@dataclass(frozen=True, slots=True)
class Erasure:
    """What is to be erased, where, and who asked for it."""

    output: str
    selection: Selection
    requested_by: str
    dry_run: bool = False
    regions: tuple[str, ...] = arguments.EU_REGIONS


def run(erasure: Erasure, erasure_id: str, log: Log) -> dict[str, Any]:
    """Erase, and return what was done: counts, never what was asked for.

    Raises
    ------
    JobError
        If the output is none of ours, is elsewhere, or is being written to.
    """
    place = erasure.output
    residency.check([place], erasure.regions)
    traces.check_ours(place)
    if erasure.dry_run:
        found = traces.find(place, erasure.selection)
        return {"output": place, "dry_run": True, "rows": found.counts()}
    with output.opened(place, erasure_id, "erase", lambda text: log.info("lock", text)) as held:
        for draft in list(traces.drafts(place)):
            store.delete_tree(draft)
        found = traces.find(place, erasure.selection)
        moments, projected = _erase(place, found, held)
        record = {
            "erasure_id": erasure_id,
            "requested_by": erasure.requested_by,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "selected_by": erasure.selection.kinds(),
            "rows": found.counts(),
            "files_rewritten": len(found.rows),
            "moments": moments,
            "files_projected_again": projected,
            "version": __version__,
        }
        held.check()
        data = json.dumps(record, indent=2).encode()
        store.write_bytes(store.join(place, store.ERASURES, f"{erasure_id}.json"), data)
    asked = found.paths() | erasure.selection.paths
    return {
        **record,
        "output": place,
        "dry_run": False,
        "same_content_left": traces.copies(place, found.sha256) if found.sha256 else 0,
        "records_naming": retention.records_naming(place, erasure.selection),
        "photos": asdict(retention.sources(asked, erasure.regions)),
        "older_versions": retention.old_versions(place),
        "models": sum(1 for name, _ in store.list_files(store.join(place, store.MODELS), "model.json")),
    }


def summary(done: Mapping[str, Any]) -> str:
    """Return the closing text of an erasure, or of its rehearsal."""
    rows = {name: number for name, number in done["rows"].items() if number}
    told = ", ".join(f"{number:,} of {name}" for name, number in rows.items())
    if done["dry_run"]:
        return f"would erase rows: {told}" if rows else "nothing found: there is no row to erase"
    photos = done["photos"]
    lines = [f"erased rows: {told}" if rows else "nothing found: no row was erased"]
    lines += [f"moments: {done['moments']}", f"older versions: {done['older_versions']}"]
    if photos["there"]:
        lines.append(
            f"photos: {photos['there']:,} are still where they were read: delete them, or the next run reads "
            "them again"
        )
    if photos["unknown"]:
        lines.append(f"photos: of {photos['unknown']:,} it is not known whether they are still there")
    if done["same_content_left"]:
        lines.append(
            f"copies: {done['same_content_left']:,} rows of other paths have the same content: "
            "--sha256 erases those"
        )
    if done["records_naming"]:
        lines.append(
            f"records: {done['records_naming']:,} of runs and of the claim name a selected place as their "
            "input: they stay as they are"
        )
    if done["models"] and rows.get(store.FEATURES_TABLE):
        lines.append(
            "models: they hold no row, but were fitted with these: a run with --refit always fits anew"
        )
    record = f"{store.ERASURES}/{done['erasure_id']}.json"
    return "\n".join([*lines, f"record: {record} in {done['output']}"])


def _erase(place: str, found: Found, held: Held) -> tuple[str, int]:
    """Take the rows out; return what became of the moments, and how many files were projected again."""
    before, kept = mend.versions(place), coverage.load_sums(place)
    for table in FIRST:
        held.check()
        drops.drop(place, found.of(table))
    held.check()
    goes = _by_features_file(found, store.FEATURES_TABLE)
    matrix_of = _by_features_file(found, store.PCA_TABLE), _by_features_file(found, store.PCA_CSV_TABLE)
    said = mend.doubt(place, {*goes, *matrix_of[0], *matrix_of[1]}).files
    for file, paths in found.of(store.PCA_CSV_TABLE).items():
        _drop_lines(store.join(place, file), set(paths))
    held.check()
    drops.drop(place, found.of(store.PCA_TABLE))
    held.check()
    gone = _drop_features(place, found, set(kept.files) if kept else set())
    held.check()
    moments = mend.sums(place, kept, gone if mend.is_of(kept, before) else None)
    held.check()
    left = {
        name: said[name][1] - rows
        for name, rows in goes.items()
        if name in said
        and said[name][0] == before.get(name)
        and all(of.get(name) == rows for of in matrix_of)
    }
    return moments, mend.matrix(place, left)


def _by_features_file(found: Found, table: str) -> dict[str, int]:
    """Return by file of features how many rows of a table are found that are of it."""
    rows: dict[str, int] = {}
    for file, paths in found.of(table).items():
        name = file.rpartition("/")[2]
        if table != store.FEATURES_TABLE:  # <stem>.<model id>.<ending>
            name = f"{name.rsplit('.', 2)[0]}.parquet"
        rows[name] = rows.get(name, 0) + len(paths)
    return rows


def _drop_features(place: str, found: Found, covered: set[str]) -> Moments:
    """Take rows out of features, and return the moments of those in files that the kept ones are of."""
    rows = found.of(store.FEATURES_TABLE)
    known = {file: paths for file, paths in rows.items() if file.rpartition("/")[2] in covered}
    gone = drops.drop(place, known).moments
    drops.drop(place, {file: paths for file, paths in rows.items() if file not in known})
    return gone


def _drop_lines(location: str, paths: set[str]) -> None:
    heading, records = csv_lines.read(store.read_bytes(location))
    kept = [(path, record) for path, record in records if path not in paths]
    store.write_bytes(location, csv_lines.joined(heading, kept))
