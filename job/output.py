"""Whose output it is: the claim that keeps two inputs from mixing, and the record that commits a run.

The first run on an output leaves a claim there that says what it is made from. A later run on something else
is refused, unless it may overwrite; a run on the same goes on from what is there. A run is whole only once
its record stands in ``runs/``; the waves that it wrote before stay, and are the next run's.
"""

import contextlib
import errno
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from job import journal, lock, store
from job.errors import JobError, UsageError
from job.lock import Held

# What another --output, or other permissions, would mend; a full disk, say, is not of these.
MENDABLE: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
    | {errno.ENAMETOOLONG, errno.ELOOP}
)


@contextlib.contextmanager
def opened(location: str, run_id: str, what: str, say: Callable[[str], None]) -> Iterator[Held]:
    """Hold the lock on an output while a ``with`` block runs.

    Raises
    ------
    UsageError
        If the output cannot be written.
    JobError
        If another command writes to it, or writing fails for a reason that is not in the choice of it.
    """
    with contextlib.ExitStack() as stack:
        with _writable(location):
            held = stack.enter_context(lock.held(location, run_id, what, say))
            if _claimed(store.join(location, store.CLAIM)) is not None:  # else all there is somebody's
                # What a run or a compaction that was killed has left.
                store.delete_tree(store.join(location, store.REPLACED))
                if journal.finish(location):
                    say("brought an earlier compaction to its end")
        yield held


def claim(location: str, made_from: Mapping[str, Any], overwrite: bool) -> bool:
    """Make sure that an output can be written, and is of this input or free.

    Parameters
    ----------
    location : str
        The output.
    made_from : mapping
        What its tables are made from; JSON values.
    overwrite : bool
        Delete our own tables of another input. Nothing else there is ever touched: not what lies beside
        them, and not something of another's that has the name of one of our tables.

    Returns
    -------
    bool
        Whether the output was free before.

    Raises
    ------
    UsageError
        If the output is made from something else, holds what is not ours where our tables would go, or
        cannot be written.
    JobError
        If writing fails for a reason that is not in the choice of the output.
    """
    file = store.join(location, store.CLAIM)
    # A path may hold bytes that are no UTF-8: Python's \udcXX for them is what JSON, too, reads them from.
    wanted = json.dumps(made_from, indent=2, sort_keys=True, ensure_ascii=False).encode(
        errors="backslashreplace"
    )
    with _writable(location):
        if _claimed(file) is None:
            _refuse_what_is_not_ours(location)
            if store.write_bytes(file, wanted, only_if_new=True):
                return True
        # Read again: another run may have been faster.
        difference = _difference(_claimed(file) or {}, json.loads(wanted))
        if difference is not None:
            if not overwrite:
                raise UsageError(
                    f"output {location} holds the tables of another input ({difference}): "
                    "choose another --output, or replace them with --overwrite"
                )
            for table in store.OURS:
                if table != store.ERASURES:  # who asked for what to be erased must be known for good
                    store.delete_tree(store.join(location, table))
        # Last, so that a deletion that breaks off can be taken up again. The same claim is written, too: it
        # may be older than a change of permissions.
        store.write_bytes(file, wanted)
        return False


@contextlib.contextmanager
def _writable(location: str) -> Iterator[None]:
    """Put it into a sentence if something cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in MENDABLE:
            reason = f"({reason.lower()}): choose another --output, or mend that"
            raise UsageError(f"output {location} cannot be written {reason}") from None
        raise JobError(f"output {location} cannot be written: {reason}") from None


def release(location: str) -> None:
    """Take back a claim on an output that was free: the run ends before it has written a table.

    Where something is written all the same, another run on the same input is at work: the claim is its, too.
    """
    with contextlib.suppress(OSError, UsageError):
        _refuse_what_is_not_ours(location)
        store.delete_tree(store.join(location, store.CLAIM))


def commit(location: str, run_id: str, record: Mapping[str, Any]) -> str:
    """Write a run's record, last of all, and return where it is."""
    file = store.join(location, store.RUNS, f"{run_id}.json")
    store.write_bytes(file, _json(record))
    return file


def _object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a file holds, if it is one."""
    try:
        found = json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _json(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, indent=2, ensure_ascii=False).encode(errors="backslashreplace")


def _claimed(file: str) -> dict[str, Any] | None:
    """Return what an output says that it is made from, if it says anything."""
    try:
        said = _object(store.read_bytes(file))
    except FileNotFoundError:
        return None
    if said is None:
        raise UsageError(
            f"{file} is not a claim of this job, so nothing beside it is: choose another --output"
        )
    return said


def _refuse_what_is_not_ours(location: str) -> None:
    """Where there is no claim, no table is ours: a folder ``models``, say, is somebody's, and stays."""
    for table in store.OURS:
        place = store.join(location, table)
        local = Path(place)
        if store.is_s3(place):
            taken = next(store.list_files(place), None) is not None
        else:
            taken = any(local.iterdir()) if local.is_dir() else local.is_symlink() or local.exists()
        if taken:
            raise UsageError(
                f"output {location} has a {table} that this job did not write (there is no {store.CLAIM}): "
                "choose another --output"
            )


def _difference(claimed: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Say in which way an output is made from something else; None if it is not."""
    for key in (*wanted, *claimed):
        if claimed.get(key) != wanted.get(key):
            return f"{key} was {_words(claimed.get(key))}, now {_words(wanted.get(key))}"
    return None


def _words(value: object) -> str:
    if value is None:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
