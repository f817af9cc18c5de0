"""``job erase``: removes every trace of the selected photos from an output, and updates moments and matrix.

The report and the classifier are deleted and the lists of paths are rewritten first; one commit then removes
the rows. In this order an interrupted erasure can be repeated by hash, which only the rows hold. The next
command deletes the replaced files that an interrupted erasure left on disk.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from job import __version__
from job.cli.log import Log
from job.commands import leftovers
from job.commands.selection import Matches, Selection, find_photos
from job.model import incremental_moments, projection, saved_classifier, saved_model
from job.storage import residency, store
from job.storage.residency import EU_REGIONS
from job.table import files, layout, path_lists, provenance, removal, sweep, writer
from job.table.writer import Writer


def run(
    output: str,
    selection: Selection,
    requested_by: str,
    log: Log,
    dry_run: bool = False,
    regions: Sequence[str] = EU_REGIONS,
) -> dict[str, Any]:
    """Erase photos, and return counts, never the names of photos. The log's run id names the erasure.

    Raises
    ------
    JobError
        If the output was not made by this job, is outside `regions`, or is being written to.
    """
    residency.check([output], regions)
    if dry_run:
        matches = provenance.read_table(output, lambda table: find_photos(output, table, selection))
        return {"output": output, "dry_run": True, "rows": _photo_counts(output, matches, selection)}
    with writer.exclusive_writer(
        output,
        log.run_id,
        "erase",
        lambda text: log.info("waiting", text),
    ) as writing:
        matches = find_photos(output, writing.snapshot, selection)
        rows = _photo_counts(output, matches, selection)
        deleted = _delete_traces(output)
        _erase_from_lists(writing, selection, matches)
        replaced = removal.remove_photos(writing, matches.paths_by_file)
        moments, projected = _update_derived(writing)
        same_content = Selection(sha256=frozenset(matches.sha256))
        copies = find_photos(output, writing.snapshot, same_content) if matches.sha256 else Matches()
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
        writing.commit()  # fails if another command has taken over
        data = json.dumps(record, indent=2).encode()
        store.write_bytes(store.join(output, layout.ERASURES, f"{log.run_id}.json"), data)
    paths = matches.paths() | selection.paths
    return {
        **record,
        "output": output,
        "dry_run": False,
        "deleted": deleted,
        "same_content_left": len(copies.paths()),
        "records_naming": leftovers.records_naming(output, writing.snapshot, selection),
        "photos": asdict(leftovers.source_photos(paths, regions)),
        "older_versions": leftovers.old_versions(output),
        "models": sum(1 for _ in store.list_files(store.join(output, layout.MODELS), "model.json")),
    }


def summary(result: Mapping[str, Any]) -> str:
    """Return the closing text of an erasure or of its dry run."""
    rows = {name: number for name, number in result["rows"].items() if number}
    text = ", ".join(f"{number:,} {name}" for name, number in rows.items())
    if result["dry_run"]:
        return f"would erase photos: {text}" if rows else "nothing found: there is no photo to erase"
    photos = result["photos"]
    lines = [f"erased photos: {text}" if rows else "nothing found: no photo was erased"]
    lines.append(f"moments: {result['moments']}")
    if "classifier" in result["deleted"]:
        lines.append(
            "classifier: deleted with its predictions, because it holds means of rows; the next run makes one"
        )
    if "report" in result["deleted"]:
        lines.append(f"report: {layout.REPORT} was deleted; job report makes it anew, without these photos")
    lines.append(f"older versions: {result['older_versions']}")
    if photos["there"]:
        lines.append(
            f"photos: {photos['there']:,} are still where they were read: delete them, or the next run reads "
            "them again"
        )
    if photos["unknown"]:
        lines.append(f"photos: of {photos['unknown']:,} it is not known whether they are still there")
    if result["same_content_left"]:
        lines.append(
            f"copies: {result['same_content_left']:,} photos of other paths have the same content: "
            "--sha256 erases those"
        )
    if result["records_naming"]:
        lines.append(
            f"records: {result['records_naming']:,} of runs and of the table name a selected place as their "
            "input: they stay as they are"
        )
    if result["models"] and rows.get(layout.FEATURIZED):
        lines.append(
            "models: they hold no row, but were fitted with these: a run with --refit always fits anew"
        )
    record = f"{layout.ERASURES}/{result['erasure_id']}.json"
    return "\n".join([*lines, f"record: {record} in {result['output']}"])


def _photo_counts(output: str, matches: Matches, selection: Selection) -> dict[str, int]:
    """Return the numbers of selected photos by outcome, and in the list of missing photos."""
    rows = {outcome: matches.rows(outcome) for outcome in (layout.FEATURIZED, layout.REJECTED)}
    listed = [path_lists.read(output, name) for name in layout.LISTS]
    missing, skipped = (len(paths.filter(_list_mask(paths, selection, matches))) for paths in listed)
    return {**rows, "of those not listed any more": missing, "skipped files": skipped}


def _list_mask(listed: pa.Table, selection: Selection, matches: Matches) -> pa.ChunkedArray:
    """Return, for each row of a list, whether it is selected by path or is among the matches."""
    return pc.or_(selection.path_mask(listed["path"]), files.photo_mask(listed, matches.paths()))


def _erase_from_lists(writing: Writer, selection: Selection, matches: Matches) -> None:
    """Remove photos from the lists of missing photos and skipped files."""
    for name in layout.LISTS:
        listed = path_lists.read(writing.output, name)
        remaining = listed.filter(pc.invert(_list_mask(listed, selection, matches)))
        if len(remaining) < len(listed):
            path_lists.write(writing, name, remaining.to_batches())


def _delete_traces(output: str) -> list[str]:
    """Delete what may show or hold a single photo and can be made anew; return which of it there was.

    The report has pictures, the mean of a label can be the features of one photo, and a table of confusions
    can tell how one photo was classified.
    """
    deleted = []
    if store.is_file(store.join(output, layout.REPORT)):
        deleted.append("report")
    store.delete_files([store.join(output, layout.REPORT)])
    if sweep.current_classifier_id(output):
        deleted.append("classifier")
    saved_classifier.set_current(output, "", "")
    for name in layout.PREDICTIONS_FOLDERS:
        store.delete_tree(store.join(output, name))
    confusions = store.list_files(store.join(output, layout.RUNS), layout.CONFUSION)
    store.delete_files([location for location, _ in confusions])
    return deleted


def _update_derived(writing: Writer) -> tuple[str, int]:
    """Update moments and matrix; return what happened to the moments, and the number of rows projected."""
    output, featurized = writing.output, writing.snapshot.files_of(layout.FEATURIZED)
    before = incremental_moments.load(output)
    if before is None:
        store.delete_tree(store.join(output, layout.MOMENTS))  # of another version, or damaged
        text = "none are kept: the next run sums them up"
    elif before.files == {file.path: file.rows for file in featurized}:
        text = "unchanged"
    else:
        _, anew = incremental_moments.update(
            output, featurized, lambda some: incremental_moments.file_moments(output, some)
        )
        text = "summed up anew" if anew else "brought up to date, exactly"
    model = saved_model.load(output, sweep.current_model_id(output))
    if model is None:
        return text, 0
    _, projected = projection.update(
        output,
        featurized,
        model[0],
        lambda some: sum(projection.project_file(output, file.path, model[0]) for file in some),
    )
    return text, projected
