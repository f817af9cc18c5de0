"""What an erasure does not reach: old versions and backups of an output, and the photos at their source.

The last step of ``erase``: nothing here is changed, and nothing that cannot be asked ends the command.
"""

import contextlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from job.commands.search import Selection
from job.errors import JobError
from job.storage import aws, residency, s3, store
from job.table import claim, layout
from job.table.commits import Snapshot

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import LifecycleRuleOutputTypeDef

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
        days = _days_kept(output)
    except PermissionError:
        return (
            "whether S3 keeps older versions is not known: these credentials lack s3:GetBucketVersioning or "
            f"s3:GetLifecycleConfiguration{copies}"
        )
    except (OSError, JobError) as error:
        reason = getattr(error, "strerror", None) or error
        return f"whether S3 keeps older versions is not known ({reason}){copies}"
    if days == 0:
        return f"the bucket keeps no older versions of the rewritten objects{copies}"
    if days is None:
        return (
            "older versions of the rewritten objects stay for ever, for no lifecycle rule ends them: delete "
            f"them, or add a rule with NoncurrentVersionExpiration{copies}"
        )
    # S3 counts whole days, and acts on the midnight (UTC) after them.
    end = (now or datetime.now(UTC)) + timedelta(days=days + 1)
    return f"older versions of the rewritten objects stay until {end:%Y-%m-%d}{copies}"


def sources(paths: Iterable[str], regions: Sequence[str]) -> Sources:
    """Look whether photos, by their paths in tables, are still there; of many, at the first ten thousand.

    A bucket outside `regions` is not asked: its photos count as unknown.
    """
    every = sorted(set(paths))
    asked = every[:PHOTOS_ASKED]
    admitted = {""}
    for bucket in {_bucket(path) for path in asked} - admitted:
        with contextlib.suppress(JobError):
            residency.check([f"s3://{bucket}"], regions)
            admitted.add(bucket)
    with ThreadPoolExecutor(REQUESTS) as pool:
        answers = list(pool.map(lambda path: _exists(path) if _bucket(path) in admitted else None, asked))
    unknown = answers.count(None) + len(every) - len(asked)
    return Sources(answers.count(True), answers.count(False), unknown)


def records_naming(output: str, table: Snapshot, selection: Selection) -> int:
    """Return how many records name a selected place as their input, the table's own among them."""
    inputs = [claim.saved_claim(table).get("inputs", [])]
    for file, _ in store.list_files(store.join(output, layout.RUNS), ".json"):
        with contextlib.suppress(FileNotFoundError, ValueError):
            inputs.append(json.loads(store.read_bytes(file)).get("input", []))
    return sum(
        any(place in selection.paths or f"{place}/".startswith(selection.prefixes) for place in places)
        for places in inputs
    )


def _bucket(path: str) -> str:
    return s3.split(path)[0] if store.is_s3(path) else ""


def _exists(path: str) -> bool | None:
    try:
        if not store.is_s3(path):
            return Path(store.original_path(path)).exists()
        bucket, key = s3.split(path)
        aws.retry(partial(s3.client(bucket, 0).head_object, Bucket=bucket, Key=key), path)
    except FileNotFoundError:
        return False
    except (OSError, JobError):
        return None
    return True


def _days_kept(output: str) -> int | None:
    """Return for how many days S3 keeps what is overwritten or deleted below an output; None is for ever."""
    from botocore.exceptions import ClientError  # noqa: PLC0415

    bucket, key = s3.split(output)
    client = s3.client(bucket, 0)
    versioning: Any = aws.retry(partial(client.get_bucket_versioning, Bucket=bucket), output)
    if not versioning.get("Status"):
        return 0

    def rules() -> "list[LifecycleRuleOutputTypeDef]":
        try:
            return client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
                return []
            raise

    found = [_days(rule, f"{key}/") for rule in aws.retry(rules, output)]
    return min((days for days in found if days is not None), default=None)


def _days(rule: "LifecycleRuleOutputTypeDef", prefix: str) -> int | None:
    """Return after how many days a rule ends every old version below a prefix; None if it does not."""
    ending = rule.get("NoncurrentVersionExpiration", {})
    chosen = rule.get("Filter", {})
    both = chosen.get("And", {})
    # A rule for objects of a tag or a size, or one that keeps some versions, does not end them all.
    narrow = {*chosen, *both} - {"Prefix", "And"}
    begins = rule.get("Prefix") or chosen.get("Prefix") or both.get("Prefix") or ""
    if rule["Status"] != "Enabled" or narrow or ending.get("NewerNoncurrentVersions"):
        return None
    return ending.get("NoncurrentDays") if prefix.startswith(begins) else None
