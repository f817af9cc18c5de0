"""Whose output it is: the claim that keeps two inputs from mixing, and the record that commits a run.

The first run on an output leaves a claim there that says what it is made from. A later run on something else
is refused, unless it may overwrite; a run on the same replaces its tables. What a run wrote counts only once
its record stands in ``runs/``.
"""

import json
from collections.abc import Mapping
from typing import Any

from job import store
from job.errors import JobError, UsageError


def claim(location: str, made_from: Mapping[str, Any], overwrite: bool) -> None:
    """Make sure that an output can be written, and is of this input or free.

    Parameters
    ----------
    location : str
        The output.
    made_from : mapping
        What its tables are made from; JSON values.
    overwrite : bool
        Delete our own tables of another input. Nothing else there is ever touched.

    Raises
    ------
    UsageError
        If the output is made from something else, or cannot be written.
    """
    file = store.join(location, store.CLAIM)
    wanted = json.dumps(made_from, indent=2, sort_keys=True, ensure_ascii=False).encode()
    try:
        if store.write_bytes(file, wanted, only_if_new=True):
            return
        found = store.read_bytes(file)
        if found == wanted:
            # Ask for the right to write, too: the claim may be older than a change of permissions.
            store.write_bytes(file, wanted)
            return
        if not overwrite:
            raise UsageError(
                f"output {location} holds the tables of another input ({_difference(found, made_from)}): "
                "choose another --output, or replace them with --overwrite"
            )
        for table in store.OURS:
            store.delete_tree(store.join(location, table))
        store.write_bytes(file, wanted)
    except (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        reason = error.strerror or "permission denied"
        raise UsageError(f"output {location} cannot be written: {reason.lower()}") from None
    except OSError as error:
        raise JobError(f"output {location} cannot be written: {error.strerror or error}") from None


def commit(location: str, run_id: str, record: Mapping[str, Any]) -> str:
    """Write a run's record, last of all, and return where it is."""
    file = store.join(location, store.RUNS, f"{run_id}.json")
    store.write_bytes(file, json.dumps(record, indent=2, ensure_ascii=False).encode())
    return file


def _difference(found: bytes, wanted: Mapping[str, Any]) -> str:
    try:
        claimed: dict[str, Any] = json.loads(found)
    except ValueError:
        return f"its {store.CLAIM} cannot be read"
    for key, value in wanted.items():
        if claimed.get(key) != value:
            return f"{key} was {_words(claimed.get(key))}, now {_words(value)}"
    return f"its {store.CLAIM} says more than this version knows"


def _words(value: object) -> str:
    if value is None:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
