"""``job erase``: every trace of some photos leaves an output, and what is made of them is made anew.

First goes what only tells of a photo, and last, by one commit, its row of the table: by that row alone a
hash leads to a path, so whoever is stopped says the same again and it goes on. What a stopped erasure has
taken out of the table, the next command deletes from the disk.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from job import __version__
from job.cli.arguments import EU_REGIONS
from job.cli.log import Log
from job.commands import leftovers, search
from job.commands.search import Found, Selection
from job.model import incremental_moments, projection, saved_model
from job.storage import residency, store
from job.table import claim, files, layout, missing, removal, sweep, writer
from job.table.writer import Writer


def run(
    output: str,
    selection: Selection,
    requested_by: str,
    log: Log,
    dry_run: bool = False,
    regions: Sequence[str] = EU_REGIONS,
) -> dict[str, Any]:
    """Erase, and return what was done: counts, never what was asked for. The log's id is the erasure's.

    Raises
    ------
    JobError
        If the output is none of ours, is elsewhere, or is being written to.
    """
    residency.check([output], regions)
    if dry_run:
        found = claim.read_table(output, lambda table: search.find(output, table, selection))
        return {"output": output, "dry_run": True, "rows": _counts(output, found, selection)}
    with writer.exclusive_writer(
        output,
        log.run_id,
        "erase",
        lambda table: claim.admit_existing(output, table),
        lambda text: log.info("waiting", text),
    ) as writing:
        found = search.find(output, writing.snapshot, selection)
        rows = _counts(output, found, selection)
        _erase_missing(writing, selection, found)
        replaced = removal.remove_photos(writing, found.paths_of)
        moments, projected = _made_anew(writing)
        same = Selection(sha256=frozenset(found.sha256))
        copies = search.find(output, writing.snapshot, same) if found.sha256 else Found()
        record = {
            "erasure_id": log.run_id,
            "requested_by": requested_by,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "selected_by": selection.kinds(),
            "rows": rows,
            "files_replaced": len(replaced),
            "moments": moments,
            "rows_projected_again": projected,
            "version": __version__,
        }
        writing.commit()  # makes sure that the table is still this command's
        data = json.dumps(record, indent=2).encode()
        store.write_bytes(store.join(output, layout.ERASURES, f"{log.run_id}.json"), data)
    asked = found.paths() | selection.paths
    return {
        **record,
        "output": output,
        "dry_run": False,
        "same_content_left": len(copies.paths()),
        "records_naming": leftovers.records_naming(output, writing.snapshot, selection),
        "photos": asdict(leftovers.sources(asked, regions)),
        "older_versions": leftovers.old_versions(output),
        "models": sum(1 for _ in store.list_files(store.join(output, layout.MODELS), "model.json")),
    }


def summary(done: Mapping[str, Any]) -> str:
    """Return the closing text of an erasure, or of its rehearsal."""
    rows = {name: number for name, number in done["rows"].items() if number}
    text = ", ".join(f"{number:,} {name}" for name, number in rows.items())
    if done["dry_run"]:
        return f"would erase photos: {text}" if rows else "nothing found: there is no photo to erase"
    photos = done["photos"]
    lines = [f"erased photos: {text}" if rows else "nothing found: no photo was erased"]
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
            f"copies: {done['same_content_left']:,} photos of other paths have the same content: "
            "--sha256 erases those"
        )
    if done["records_naming"]:
        lines.append(
            f"records: {done['records_naming']:,} of runs and of the table name a selected place as their "
            "input: they stay as they are"
        )
    if done["models"] and rows.get(layout.FEATURIZED):
        lines.append(
            "models: they hold no row, but were fitted with these: a run with --refit always fits anew"
        )
    record = f"{layout.ERASURES}/{done['erasure_id']}.json"
    return "\n".join([*lines, f"record: {record} in {done['output']}"])


def _counts(output: str, found: Found, selection: Selection) -> dict[str, int]:
    """Return how many photos were found, by what became of them; and in the list of the missing."""
    rows = {outcome: found.rows(outcome) for outcome in (layout.FEATURIZED, layout.REJECTED)}
    listed = missing.read(output)
    of_list = len(listed.filter(_selected(listed, selection, found)))
    return {**rows, "of those not listed any more": of_list}


def _selected(listed: pa.Table, selection: Selection, found: Found) -> pa.ChunkedArray:
    return pc.or_(selection.by_path(listed["path"]), files.photo_mask(listed, found.paths()))


def _erase_missing(writing: Writer, selection: Selection, found: Found) -> None:
    """Take photos out of the list of those that the last run did not find."""
    listed = missing.read(writing.output)
    left = listed.filter(pc.invert(_selected(listed, selection, found)))
    if len(left) < len(listed):
        missing.write(writing, left.to_batches())


def _made_anew(writing: Writer) -> tuple[str, int]:
    """Bring moments and matrix up to date; return what became of the first, and the rows projected."""
    output, featurized = writing.output, writing.snapshot.files_of(layout.FEATURIZED)
    before = incremental_moments.load(output)
    if before is None:
        text = "none were kept"
    elif before.files == {file.path: file.rows for file in featurized}:
        text = "unchanged"
    else:
        _, anew = incremental_moments.sum_up(
            output, featurized, lambda some: incremental_moments.of_files(output, some)
        )
        text = "summed up anew" if anew else "brought up to date, exactly"
    model = saved_model.load(output, sweep.current_model_id(output))
    if model is None:
        return text, 0
    _, projected = projection.write(
        output,
        featurized,
        model[0],
        lambda some: sum(projection.project(output, file.path, model[0]) for file in some),
    )
    return text, projected
