"""What a command deletes at its end: every file in an output's folders that its table does not lead to.

These are files of the table that were replaced, or that a command wrote and did not commit; matrices of such
files and of models that are not current; older lists of missing photos; tasks; and drafts of a process that
was killed while it wrote.
"""

import json
from collections.abc import Sequence
from itertools import chain
from typing import Final

from job.storage import store
from job.table import commits, layout
from job.table.commits import Snapshot

DERIVED: Final = (layout.PCA, layout.PCA_CSV)


def candidates(output: str) -> list[str]:
    """Return the locations of all files that a command may have to delete."""
    folders = (layout.PHOTOS, *DERIVED, layout.MISSING, layout.TASKS)
    there = chain.from_iterable(store.list_files(store.join(output, folder)) for folder in folders)
    drafts = chain.from_iterable(store.list_drafts(store.join(output, folder)) for folder in layout.FOLDERS)
    return [*(location for location, _ in there), *drafts]


def unreferenced(output: str, places: Sequence[str], snapshot: Snapshot, keep_hours: float = 0) -> list[str]:
    """Return those of some locations, as :func:`candidates` returns them, that a snapshot does not lead to.

    Files that were removed from the table within `keep_hours` are not returned.
    """
    paths = {*snapshot.files}
    if keep_hours:
        paths |= commits.removed_since(output, snapshot.version, keep_hours)
    named = {store.join(output, layout.PHOTOS, path) for path in paths} | {missing_list(output)}
    model_id = current_model_id(output)
    for file in snapshot.files_of(layout.FEATURIZED):
        named |= {store.join(output, path) for path in layout.matrix_paths(file.path, model_id)}
    return [place for place in places if place not in named]


def overtaken_files(output: str, newest: Snapshot, seen: Snapshot, command: int) -> list[str]:
    """Return the locations of what a command that was overtaken has written, and nobody has committed.

    Parameters
    ----------
    output : str
    newest, seen : Snapshot
        Of whoever has taken over; and the last one that this command saw. What it had committed may have been
        replaced since, and is still wanted till the other's end; a matrix of it is not.
    command : int
        The number of the command that was overtaken: whatever has a higher one is not its.
    """
    named = {layout.stem(path) for path in newest.files}
    committed = named | {layout.stem(path) for path in seen.files}
    left = [store.join(output, layout.MISSING, f"{command:09}.parquet")]
    for location, _ in store.list_files(store.join(output, layout.PHOTOS)):
        stem = layout.stem(location)
        if layout.command_of(stem) == command and stem not in committed:
            left.append(location)
    for location, _ in chain.from_iterable(store.list_files(store.join(output, name)) for name in DERIVED):
        stem = layout.stem(location)
        if layout.command_of(stem) <= command and stem not in named:
            left.append(location)
    left += [location for location, _ in store.list_files(store.join(output, layout.TASKS, str(command)))]
    return left


def delete_files(output: str, locations: list[str]) -> None:
    """Delete files of an output, and the folders that are empty then."""
    store.delete_files(locations)
    if not store.is_s3(output):
        store.remove_empty_folders({location.rpartition("/")[0] for location in locations}, output)


def missing_list(output: str) -> str:
    """Return where the list of missing photos is; ``""`` if there is none."""
    return max((place for place, _ in store.list_files(store.join(output, layout.MISSING))), default="")


def current_model_id(output: str) -> str:
    """Return the id of the model that the matrix is of; ``""`` if there is none."""
    try:
        return str(json.loads(store.read_bytes(store.join(output, layout.CURRENT_MODEL)))["model_id"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ""
