"""What an erasure leaves: S3's older versions, source photos, and paths named as inputs in records.

The last step of ``erase``. It only reads, and an answer that it cannot get counts as unknown.
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

from job.commands.selection import Selection
from job.errors import JobError
from job.storage import residency, retries, s3, store
from job.table import layout, provenance
from job.table.commits import Snapshot

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import LifecycleRuleOutputTypeDef

MAX_PHOTOS: Final = 10_000
REQUESTS_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """How many photos still exist at their source, no longer exist, and could not be looked up."""

    there: int
    gone: int
    unknown: int


def old_versions(output: str, now: datetime | None = None) -> str:
    """Return a sentence on older versions of an output's files: whether S3 keeps any, and until when."""
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
    # S3 counts whole days, and deletes at the midnight (UTC) that follows.
    end = (now or datetime.now(UTC)) + timedelta(days=days + 1)
    return f"older versions of the rewritten objects stay until {end:%Y-%m-%d}{copies}"


def source_photos(paths: Iterable[str], regions: Sequence[str]) -> SourceCounts:
    """Count the photos that still exist at their source; of many, only the first ten thousand are looked up.

    Photos in a bucket outside `regions` count as unknown: no request goes there.
    """
    distinct = sorted(set(paths))
    sample = distinct[:MAX_PHOTOS]
    admitted = {""}  # files on this machine have no bucket
    for bucket in {_bucket(path) for path in sample} - admitted:
        with contextlib.suppress(JobError):
            residency.check([f"s3://{bucket}"], regions)
            admitted.add(bucket)
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        answers = list(pool.map(lambda path: _exists(path) if _bucket(path) in admitted else None, sample))
    unknown = answers.count(None) + len(distinct) - len(sample)
    return SourceCounts(answers.count(True), answers.count(False), unknown)


def records_naming(output: str, table: Snapshot, selection: Selection) -> int:
    """Count the run records and table properties that name a selected path as an input."""
    inputs = [provenance.saved(table).get("inputs", [])]
    for file, _ in store.list_files(store.join(output, layout.RUNS), ".json"):
        with contextlib.suppress(FileNotFoundError, ValueError):
            inputs.append(json.loads(store.read_bytes(file)).get("input", []))
    return sum(
        any(path in selection.paths or f"{path}/".startswith(selection.prefixes) for path in paths)
        for paths in inputs
    )


def _bucket(path: str) -> str:
    return s3.split(path)[0] if store.is_s3(path) else ""


def _exists(path: str) -> bool | None:
    try:
        if not store.is_s3(path):
            return Path(store.original_path(path)).exists()
        s3.size(path)
    except FileNotFoundError:
        return False
    except (OSError, JobError):
        return None
    return True


def _days_kept(output: str) -> int | None:
    """Return the days that S3 keeps overwritten or deleted objects of an output; None means for ever."""
    from botocore.exceptions import ClientError  # noqa: PLC0415

    bucket, key = s3.split(output)
    client = s3.client(bucket, 0)
    versioning: Any = retries.retry(partial(client.get_bucket_versioning, Bucket=bucket), output)
    if not versioning.get("Status"):
        return 0

    def rules() -> "list[LifecycleRuleOutputTypeDef]":
        try:
            return client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
                return []
            raise

    rule_days = [_days_of_rule(rule, f"{key}/") for rule in retries.retry(rules, output)]
    return min((days for days in rule_days if days is not None), default=None)


def _days_of_rule(rule: "LifecycleRuleOutputTypeDef", prefix: str) -> int | None:
    """Return the days after which a lifecycle rule deletes every old version below `prefix`, or None."""
    expiration = rule.get("NoncurrentVersionExpiration", {})
    filters = rule.get("Filter", {})
    combined = filters.get("And", {})
    # A rule that filters by tag or size, or keeps some versions, does not delete them all.
    other_filters = {*filters, *combined} - {"Prefix", "And"}
    rule_prefix = rule.get("Prefix") or filters.get("Prefix") or combined.get("Prefix") or ""
    if rule["Status"] != "Enabled" or other_filters or expiration.get("NewerNoncurrentVersions"):
        return None
    return expiration.get("NoncurrentDays") if prefix.startswith(rule_prefix) else None
