"""Writes a table of invented photos, for measures that read no photo.

The job's own functions write its files and its log, but without fsync.
"""

import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any, Final
from unittest.mock import patch

import pyarrow as pa

from job.table import commits, files, layout, provenance, schema
from job.table.layout import DataFile
from job.table.writer import FirstActions

RUN_ID: Final = "known"
COMMAND: Final = 1  # the number of the command that writes the table


def rows(**columns: Any) -> pa.Table:
    """Return rows of the table with these columns; the other columns are empty."""
    count = len(columns["path"])
    arrays = [columns.get(field.name, pa.nulls(count, field.type)) for field in schema.PHOTOS]
    return pa.table(arrays, schema=schema.PHOTOS)


def write_files(output: str, parts: Iterable[pa.Table]) -> Iterator[DataFile]:
    """Write files of featurized photos and yield each; a commit then adds them to the table."""
    with patch.object(os, "fsync"):
        for number, part in enumerate(parts):
            yield files.write(output, layout.data_path(layout.FEATURIZED, COMMAND, number, 0), part)


def first_actions(output: str) -> FirstActions:
    """Return the first actions of a run without inputs, as ``--manifest`` makes it."""
    return partial(provenance.first_actions, output, requested=provenance.of_run((), None), overwrite=False)


def write(output: str, parts: Iterable[pa.Table], files_per_commit: int) -> None:
    """Write a table as a ``--manifest`` run leaves it, without a checkpoint; version 0 adds no files."""
    command = [commits.command_action(name, COMMAND) for name in (commits.WRITER, commits.ENDED)]
    first_commit = [commits.protocol_action(), *first_actions(output)(None), *command]
    additions = (commits.add_action(file, True) for file in write_files(output, parts))
    with patch.object(os, "fsync"):
        for version, actions in enumerate(chain([first_commit], _batches(additions, files_per_commit))):
            commits.write(output, version, actions, {"run": RUN_ID, "command": "run"})


def _batches(actions: Iterator[commits.Action], size: int) -> Iterator[list[commits.Action]]:
    while batch := list(islice(actions, size)):
        yield batch
