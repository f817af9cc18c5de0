"""The log of the Delta table ``photos``: read its snapshot, write commits and checkpoints.

A commit is the exclusive write of ``_delta_log/<version>.json`` through ``job.storage``, which has the job's
credentials, retries and errors, and recognizes its own file if S3's response was lost. The package
``deltalake`` replays the log and writes checkpoints on a local copy of the log's end; it never accesses S3.

Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md, reader version 1, writer version 2.
"""

import json
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from job.errors import JobError
from job.storage import store
from job.table import layout, schema
from job.table.layout import DataFile

if TYPE_CHECKING:
    from deltalake import DeltaTable

Action = dict[str, Any]

LOG: Final = "_delta_log"
LAST_CHECKPOINT: Final = "_last_checkpoint"
CHECKPOINT: Final = ".checkpoint.parquet"
CHECKPOINTS_KEPT: Final = 10  # a reader of an older version may still be reading one
WRITER: Final = "fruits-writer"  # holds the number of the last command that began to write
ENDED: Final = "fruits-ended"  # holds the number of the last command that ended
READER_VERSION: Final = 1
WRITER_VERSION: Final = 2
READS_AT_ONCE: Final = 16


@dataclass(slots=True)
class Snapshot:
    """The table at one version.

    Attributes
    ----------
    version : int
        -1 before the first commit.
    files : dict
        Data files by path.
    configuration : dict
        The table's properties; one is its provenance.
    writer, ended : int
        Numbers of the last command that began to write, and of the last one that ended.
    since_checkpoint : int
        Commits since the last checkpoint.
    """

    version: int = -1
    files: dict[str, DataFile] = field(default_factory=dict)
    configuration: dict[str, str] = field(default_factory=dict)
    table_id: str = ""
    writer: int = 0
    ended: int = 0
    since_checkpoint: int = 0

    def files_of(self, outcome: str) -> list[DataFile]:
        """Return the files of ``featurized`` or ``rejected`` photos, in order of their paths."""
        return sorted(file for file in self.files.values() if file.outcome == outcome)

    def rows(self, outcome: str) -> int:
        """Return how many photos are ``featurized`` or ``rejected``."""
        return sum(file.rows for file in self.files_of(outcome))


def load(output: str) -> Snapshot | None:
    """Return the newest snapshot of an output's table; None if there is no table.

    Raises
    ------
    JobError
        If another program has given the table features that this one does not support.
    OSError
        If the log cannot be read.
    """
    with _replayed(output) as (table, copy):
        if table is None:
            return None
        protocol, metadata = table.protocol(), table.metadata()
        if protocol.min_reader_version > READER_VERSION or protocol.min_writer_version > WRITER_VERSION:
            raise JobError(
                f"{store.join(output, layout.PHOTOS)} was given Delta features that this job does not know "
                f"(reader version {protocol.min_reader_version}, writer version "
                f"{protocol.min_writer_version}): restore it, or choose another --output"
            )
        # Not `pa.table`, which would load pandas.
        actions = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True))
        columns = actions.read_all().to_pydict()
        files = zip(columns["path"], columns["size_bytes"], columns["num_records"], strict=True)
        return Snapshot(
            version=table.version(),
            files={path: DataFile(path, size, rows or 0) for path, size, rows in files},
            configuration=dict(metadata.configuration),
            table_id=str(metadata.id),
            writer=table.transaction_version(WRITER) or 0,
            ended=table.transaction_version(ENDED) or 0,
            since_checkpoint=sum(1 for _ in copy.glob("*.json")),
        )


def write(output: str, version: int, actions: Iterable[Action], about: Mapping[str, object]) -> bool:
    """Write a commit, and return True; False if the version already exists.

    `version` follows that of the snapshot on which the actions are based. `about` goes into ``commitInfo``:
    it names the command and run, never a photo's path.
    """
    info: dict[str, Any] = {
        "timestamp": _now(),
        "operation": "WRITE",
        "operationParameters": {},
        "engineInfo": "fruits",
        "txnId": uuid.uuid4().hex,  # identifies this commit if S3's response is lost
        **about,
    }
    lines = [json.dumps(action) for action in ({"commitInfo": info}, *actions)]
    return store.write_bytes(_commit_file(output, version), "\n".join(lines).encode(), only_if_new=True)


def exists(output: str, version: int) -> bool:
    """Tell whether a version has been committed."""
    try:
        return store.read_bytes(_commit_file(output, version)) is not None
    except (FileNotFoundError, NotADirectoryError):
        return False


def commit_info(output: str, version: int) -> dict[str, Any]:
    """Return a commit's ``commitInfo``; empty if the commit does not exist."""
    return _info(_read(output, version) or [])


def removed_since(output: str, version: int, hours: float) -> set[str]:
    """Return paths removed in the last `hours` by commits up to `version` and after the last erasure."""
    earliest, removed = _now() - hours * 3_600_000, set[str]()
    while (actions := _read(output, version)) is not None:
        info = _info(actions)
        if info.get("timestamp", 0) < earliest or info.get("command") == "erase":
            break
        removed |= {action["remove"]["path"] for action in actions if "remove" in action}
        version -= 1
    return removed


def write_checkpoint(output: str) -> None:
    """Write a checkpoint of the newest version, and delete all but the last ten."""
    log = store.join(output, layout.PHOTOS, LOG)
    with _replayed(output) as (table, copy):
        if table is None:
            return
        name = f"{table.version():020}{CHECKPOINT}"
        if (copy / name).exists():
            return
        table.create_checkpoint()
        for file in (name, LAST_CHECKPOINT):  # the second points to the first
            store.write_bytes(store.join(log, file), (copy / file).read_bytes())
    checkpoints = [location for location, _ in store.list_files(log, CHECKPOINT)]
    store.delete_files(checkpoints[:-CHECKPOINTS_KEPT])


def protocol_action() -> Action:
    """Return the action that states the required versions of readers and writers."""
    return {"protocol": {"minReaderVersion": READER_VERSION, "minWriterVersion": WRITER_VERSION}}


def metadata_action(table_id: str, configuration: Mapping[str, str]) -> Action:
    """Return the action that states the table's schema and properties.

    Statistics of other writers are restricted to ``etag``, so that no path of a photo enters the log.
    """
    from deltalake import Schema  # noqa: PLC0415 (as below)

    columns = pa.schema([*schema.PHOTOS, schema.PARTITION])
    return {
        "metaData": {
            "id": table_id or str(uuid.uuid4()),
            "format": {"provider": "parquet", "options": {}},
            "schemaString": Schema.from_arrow(columns).to_json(),
            "partitionColumns": [schema.PARTITION.name],
            "configuration": {"delta.dataSkippingStatsColumns": "etag", **configuration},
            "createdTime": _now(),
        }
    }


def command_action(application: str, value: int) -> Action:
    """Return the action by which command `value` begins (``WRITER``) or ends (``ENDED``)."""
    return {"txn": {"appId": application, "version": value, "lastUpdated": _now()}}


def add_action(file: DataFile, data_change: bool) -> Action:
    """Return the action that adds a file. Its only statistic is the row count: no path may enter the log."""
    stats = json.dumps({"numRecords": file.rows})
    return {"add": {**_file(file, data_change), "modificationTime": _now(), "stats": stats}}


def remove_action(file: DataFile, data_change: bool) -> Action:
    """Return the action that removes a file."""
    return {"remove": {**_file(file, data_change), "deletionTimestamp": _now(), "extendedFileMetadata": True}}


def _file(file: DataFile, data_change: bool) -> dict[str, Any]:
    partition = {schema.PARTITION.name: file.outcome}
    return {"path": file.path, "partitionValues": partition, "size": file.bytes, "dataChange": data_change}


def _now() -> int:
    return int(time.time() * 1000)


def _commit_file(output: str, version: int) -> str:
    return store.join(output, layout.PHOTOS, LOG, f"{version:020}.json")


def _info(actions: Iterable[Action]) -> dict[str, Any]:
    return next((action["commitInfo"] for action in actions if "commitInfo" in action), {})


def _read(output: str, version: int) -> list[Action] | None:
    """Return the actions of a commit; None if there is no such commit."""
    file = _commit_file(output, version)
    try:
        lines = store.read_bytes(file).splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:  # possible after a power cut on a file system without hard links
        raise JobError(f"{file} is torn: delete it if no command is writing") from None


@contextmanager
def _replayed(output: str) -> "Iterator[tuple[DeltaTable | None, Path]]":
    """Copy the log from its last checkpoint on; yield the table that ``deltalake`` replays, and the copy."""
    # Imported here: only the driver needs it.
    from deltalake import DeltaTable  # noqa: PLC0415
    from deltalake.exceptions import DeltaError  # noqa: PLC0415

    log = store.join(output, layout.PHOTOS, LOG)
    with tempfile.TemporaryDirectory(prefix="fruits-log-") as folder:
        copy = Path(folder) / LOG
        copy.mkdir()
        names = _end_of_log(log)
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            files = pool.map(lambda name: store.read_bytes(store.join(log, name)), names)
            for name, data in zip(names, files, strict=True):
                (copy / name).write_bytes(data)
        try:
            yield (DeltaTable(folder) if names else None), copy
        except DeltaError as error:
            raise JobError(f"{log} cannot be read: {str(error).splitlines()[0]}") from None


def _end_of_log(log: str) -> list[str]:
    """Return the names of the last checkpoint, if any, and of the commits after it."""
    try:
        since = int(json.loads(store.read_bytes(store.join(log, LAST_CHECKPOINT)))["version"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        since = 0
    names: list[str] = []
    for start in dict.fromkeys((since, 0)):
        listed = store.list_files(log, after=f"{start:020}")
        names = [location.rpartition("/")[2] for location, _ in listed]
        if not start or any(name.endswith(CHECKPOINT) for name in names):
            break
    last = max((name for name in names if name.endswith(CHECKPOINT)), default="")
    return [name for name in names if name == last or (name.endswith(".json") and name[:20] > last[:20])]
