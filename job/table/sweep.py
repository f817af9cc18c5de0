"""Deletion of unreferenced files at the end of a command.

These are data files that were replaced or never committed; matrices and predictions of such files and of
models that are not current; older lists of paths; tasks; and unfinished files of killed processes.
"""

import json
import re
from collections.abc import Sequence
from itertools import chain
from typing import Final

from job.storage import store
from job.table import commits, layout
from job.table.commits import Snapshot

LIST_FILE: Final = re.compile(r"/\d{9}\.parquet")


def candidates(output: str) -> list[str]:
    """Return the locations of all files that might have to be deleted."""
    folders = (layout.PHOTOS, *layout.DERIVED, layout.TASKS)
    stored = chain.from_iterable(store.list_files(store.join(output, folder)) for folder in folders)
    lists = chain.from_iterable(_lists(output, name) for name in layout.LISTS)
    drafts = chain.from_iterable(store.list_drafts(store.join(output, folder)) for folder in layout.FOLDERS)
    beside = store.list_drafts(output, is_deep=False)  # of the report
    return [*(location for location, _ in stored), *lists, *drafts, *beside]


def unreferenced(
    output: str, locations: Sequence[str], snapshot: Snapshot, keep_hours: float = 0
) -> list[str]:
    """Return those of the :func:`candidates` that a snapshot does not reference.

    Data files that were removed from the table in the last `keep_hours` are not returned.
    """
    paths = {*snapshot.files}
    if keep_hours:
        paths |= commits.removed_since(output, snapshot.version, keep_hours)
    referenced = {store.join(output, layout.PHOTOS, path) for path in paths}
    referenced |= {newest_list(output, name) for name in layout.LISTS}
    model_id = current_model_id(output)
    classifier_id, classified = current_classifier(output)
    for file in snapshot.files_of(layout.FEATURIZED):
        derived = [*layout.matrix_paths(file.path, model_id)]
        if classified:
            derived.append(layout.predictions_path(file.path, classifier_id, classified))
        referenced |= {store.join(output, path) for path in derived}
    return [location for location in locations if location not in referenced]


def overtaken_files(output: str, newest: Snapshot, seen: Snapshot, command: int) -> list[str]:
    """Return the locations of an overtaken command's files that are in no commit.

    `seen` is the last snapshot of the overtaken command, whose number is `command`. Its committed data files
    stay, even if replaced since: the new command deletes them. Matrix files of replaced ones are returned.
    """
    current = {layout.stem(path) for path in newest.files}
    committed = current | {layout.stem(path) for path in seen.files}
    leftovers = [list_location(output, name, command) for name in layout.LISTS]
    for location, _ in store.list_files(store.join(output, layout.PHOTOS)):
        stem = layout.stem(location)
        if layout.command_of(stem) == command and stem not in committed:
            leftovers.append(location)
    for location, _ in chain.from_iterable(
        store.list_files(store.join(output, name)) for name in layout.DERIVED
    ):
        stem = layout.stem(location)
        if layout.command_of(stem) <= command and stem not in current:
            leftovers.append(location)
    leftovers += [
        location for location, _ in store.list_files(store.join(output, layout.TASKS, str(command)))
    ]
    return leftovers


def delete_files(output: str, locations: list[str]) -> None:
    """Delete files of an output, and the folders that become empty."""
    store.delete_files(locations)
    if not store.is_s3(output):
        store.remove_empty_folders({location.rpartition("/")[0] for location in locations}, output)


def list_location(output: str, name: str, command: int) -> str:
    """Return the location of a command's list of paths; see :mod:`job.table.path_lists`."""
    return store.join(output, name, f"{command:09}.parquet")


def newest_list(output: str, name: str) -> str:
    """Return the location of the newest list of a name; ``""`` if there is none."""
    return max(_lists(output, name), default="")


def current_model_id(output: str) -> str:
    """Return the id of the matrix's model; ``""`` if there is none."""
    return _pointer(output, layout.CURRENT_MODEL).get("model_id", "")


def current_classifier_id(output: str) -> str:
    """Return the id of the classifier; ``""`` if there is none."""
    return current_classifier(output)[0]


def current_classifier(output: str) -> tuple[str, str]:
    """Return the id of the classifier, and which photos have its predictions; ``""`` for none."""
    pointer = _pointer(output, layout.CURRENT_CLASSIFIER)
    return pointer.get("classifier_id", ""), pointer.get("classified", "")


def _pointer(output: str, name: str) -> dict[str, str]:
    """Return the content of a file that names what is current; empty if it is missing or damaged."""
    try:
        content = json.loads(store.read_bytes(store.join(output, name)))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return {key: str(value) for key, value in content.items()} if isinstance(content, dict) else {}


def _lists(output: str, name: str) -> list[str]:
    """Return the locations of the lists of a name, without other files that somebody put beside them."""
    stored = (location for location, _ in store.list_files(store.join(output, name)))
    return [location for location in stored if LIST_FILE.fullmatch(location[len(store.join(output, name)) :])]
