"""What an erasure does not reach: old versions and backups of an output, and the photos at their source.

The last step of ``erase``: nothing here is changed, and nothing that cannot be asked ends the command.
"""

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from job import residency, s3_objects, store
from job.errors import JobError
from job.search import Selection
from job.table import claim, layout
from job.table.commits import Snapshot

PHOTOS_ASKED: Final = 10_000
REQUESTS: Final = 32


@dataclass(frozen=True, slots=True)
class Sources:
    """How many photos are still where they were read, are gone, and are not known of."""

    there: int
    gone: int
    unknown: int


def old_versions(output: str, now: datetime | None = None) -> str:
    """Say what is still kept of an output's older files, and until when."""
    if not store.is_s3(output):
        return "backups of this machine are not known to the job: such as there are still hold the rows"
    copies = "; replicas and backups of the bucket are not known to the job"
    try:
        found = s3_objects.old_versions(output)
    except PermissionError:
        return (
            "whether S3 keeps older versions is not known: these credentials lack s3:GetBucketVersioning or "
            f"s3:GetLifecycleConfiguration{copies}"
        )
    except (OSError, JobError) as error:
        reason = getattr(error, "strerror", None) or error
        return f"whether S3 keeps older versions is not known ({reason}){copies}"
    if not found.kept:
        return f"the bucket keeps no older versions of the rewritten objects{copies}"
    if found.days is None:
        return (
            "older versions of the rewritten objects stay for ever, for no lifecycle rule ends them: delete "
            f"them, or add a rule with NoncurrentVersionExpiration{copies}"
        )
    # S3 counts whole days, and acts on the midnight (UTC) after them.
    end = (now or datetime.now(UTC)) + timedelta(days=found.days + 1)
    return f"older versions of the rewritten objects stay until {end:%Y-%m-%d}{copies}"


def sources(paths: Iterable[str], regions: Sequence[str]) -> Sources:
    """Look whether photos are still where they were read; of many, at the first ten thousand.

    Parameters
    ----------
    paths : iterable of str
        As they stand in tables.
    regions : sequence of str
        A bucket elsewhere is not asked: its photos count as unknown.
    """
    every = sorted(set(paths))
    asked = list(islice(every, PHOTOS_ASKED))
    buckets = {_bucket(path) for path in asked if store.is_s3(path)}
    closed = {bucket for bucket in buckets if not _may_be_asked(bucket, regions)}
    with ThreadPoolExecutor(REQUESTS) as pool:
        answers = list(pool.map(lambda path: None if _bucket(path) in closed else _exists(path), asked))
    unknown = answers.count(None) + len(every) - len(asked)
    return Sources(answers.count(True), answers.count(False), unknown)


def records_naming(output: str, table: Snapshot, selection: Selection) -> int:
    """Return how many records name a selected place as their input, the table's own among them."""
    inputs = [claim.inputs_of(table).get("inputs", [])]
    for file, _ in store.list_files(store.join(output, layout.RUNS), ".json"):
        try:
            inputs.append(json.loads(store.read_bytes(file)).get("input", []))
        except (FileNotFoundError, ValueError):
            continue
    return sum(
        any(place in selection.paths or f"{place}/".startswith(selection.prefixes) for place in places)
        for places in inputs
    )


def _bucket(path: str) -> str:
    return "/".join(path.split("/", 3)[:3]) if store.is_s3(path) else ""


def _may_be_asked(bucket: str, regions: Sequence[str]) -> bool:
    try:
        residency.check([bucket], regions)
    except JobError:
        return False
    return True


def _exists(path: str) -> bool | None:
    try:
        if store.is_s3(path):
            return s3_objects.exists(path)
        local = os.fsencode(unquote(path.removeprefix("file://"), errors="surrogateescape"))
        return Path(os.fsdecode(local) if store.was_unprintable(path) else path).exists()
    except (OSError, JobError):
        return None
