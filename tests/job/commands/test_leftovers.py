"""What an erasure cannot delete: old versions in S3, and the photos at their source."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from job.commands import leftovers
from job.commands.leftovers import SourceCounts
from job.commands.selection import Selection
from job.storage.residency import EU_REGIONS
from tests.support import tables
from tests.support.outputs import Output
from tests.support.s3_servers import Answer, ScriptedS3, error_body, make_bucket

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
RULE = {"ID": "old", "Status": "Enabled", "NoncurrentVersionExpiration": {"NoncurrentDays": 30}}


def old_versions(bucket: str, *rules: dict[str, Any]) -> str:
    """Return the message for an output in a bucket with versions and lifecycle rules."""
    client: Any = boto3.client("s3")
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    if rules:
        client.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)}
        )
    return leftovers.old_versions(f"s3://{bucket}/results/2026", NOW)


def test_a_bucket_without_versions_keeps_none(bucket: str) -> None:
    assert "keeps no older versions" in leftovers.old_versions(f"s3://{bucket}/results", NOW)


def test_old_versions_stay_for_ever_without_a_rule(bucket: str) -> None:
    assert "stay for ever, for no lifecycle rule ends them" in old_versions(bucket)


@pytest.mark.parametrize("prefix", ["", "results/", "results/2026/"])
def test_a_rule_for_the_output_gives_the_last_day(bucket: str, prefix: str) -> None:
    assert "stay until 2026-12-22" in old_versions(bucket, {**RULE, "Filter": {"Prefix": prefix}})


@pytest.mark.parametrize(
    "rule",
    [
        {**RULE, "Filter": {"Prefix": "photos/"}},
        {**RULE, "Filter": {"Prefix": "results/2026/models/"}},
        {**RULE, "Filter": {"Prefix": ""}, "Status": "Disabled"},
        {**RULE, "Filter": {"Tag": {"Key": "a", "Value": "b"}}},
        {"ID": "now", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 3}},
    ],
)
def test_a_rule_for_something_else_does_not_count(bucket: str, rule: dict[str, Any]) -> None:
    assert "stay for ever" in old_versions(bucket, rule)


def test_without_permission_old_versions_are_unknown(scripted_s3: ScriptedS3) -> None:
    scripted_s3.rules.append(
        lambda _, target: Answer(403, error_body("AccessDenied")) if "versioning" in target else None
    )
    message = leftovers.old_versions("s3://photos/out", NOW)
    assert "is not known: these credentials lack s3:GetBucketVersioning" in message


def test_backups_of_a_folder_are_unknown(tmp_path: Path) -> None:
    assert "not known to the job" in leftovers.old_versions(str(tmp_path))


def test_photos_still_at_their_source_are_counted(tmp_path: Path, bucket: str) -> None:
    (tmp_path / "é.jpg").write_bytes(b"1")
    boto3.client("s3").put_object(Bucket=bucket, Key="a//b.jpg", Body=b"1")
    foreign_bucket = make_bucket("us-east-1")
    paths = [f"{tmp_path}/é.jpg", f"{tmp_path}/gone.jpg", f"file://{tmp_path}/%C3%A9.jpg"]
    paths += [f"s3://{bucket}/a//b.jpg", f"s3://{bucket}/gone.jpg", f"s3://{foreign_bucket}/c.jpg"]
    assert leftovers.source_photos(paths, EU_REGIONS) == SourceCounts(there=3, gone=2, unknown=1)


def test_photos_beyond_the_limit_count_as_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "MAX_PHOTOS", 2)
    paths = [f"{tmp_path}/{name}.jpg" for name in "abcde"]
    assert leftovers.source_photos(paths, EU_REGIONS) == SourceCounts(there=0, gone=2, unknown=3)


@pytest.mark.parametrize(
    ("suffix", "records"),
    [("/ph", 3), ("/photos", 3), ("/photos/", 3), ("/photos/Test", 0), ("/photos-2", 0)],
)
def test_records_whose_input_is_an_erased_location_are_counted(
    output: Output, suffix: str, records: int
) -> None:
    selection = Selection(prefixes=(output.source.removesuffix("/photos") + suffix,))
    assert leftovers.records_naming(output.location, tables.snapshot(output.location), selection) == records
