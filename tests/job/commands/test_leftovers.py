"""What an erasure does not reach is said: old versions in S3 and until when, and photos at their source."""

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


def said(bucket: str, *rules: dict[str, Any]) -> str:
    client: Any = boto3.client("s3")
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    if rules:
        client.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)}
        )
    return leftovers.old_versions(f"s3://{bucket}/results/2026", NOW)


def test_a_bucket_without_versions_keeps_none(bucket: str) -> None:
    assert "keeps no older versions" in leftovers.old_versions(f"s3://{bucket}/results", NOW)


def test_without_a_rule_old_versions_stay_for_ever(bucket: str) -> None:
    assert "stay for ever, for no lifecycle rule ends them" in said(bucket)


@pytest.mark.parametrize("prefix", ["", "results/", "results/2026/"])
def test_a_rule_for_the_output_says_until_when(bucket: str, prefix: str) -> None:
    assert "stay until 2026-12-22" in said(bucket, {**RULE, "Filter": {"Prefix": prefix}})


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
    assert "stay for ever" in said(bucket, rule)


def test_without_permission_it_is_not_known(scripted_s3: ScriptedS3) -> None:
    scripted_s3.rules.append(
        lambda _, target: Answer(403, error_body("AccessDenied")) if "versioning" in target else None
    )
    words = leftovers.old_versions("s3://photos/out", NOW)
    assert "is not known: these credentials lack s3:GetBucketVersioning" in words


def test_of_a_folder_backups_are_not_known(tmp_path: Path) -> None:
    assert "not known to the job" in leftovers.old_versions(str(tmp_path))


def test_photos_that_are_still_there_are_counted(tmp_path: Path, bucket: str) -> None:
    (tmp_path / "é.jpg").write_bytes(b"1")
    boto3.client("s3").put_object(Bucket=bucket, Key="a//b.jpg", Body=b"1")
    abroad = make_bucket("us-east-1")
    asked = [f"{tmp_path}/é.jpg", f"{tmp_path}/gone.jpg", f"file://{tmp_path}/%C3%A9.jpg"]
    asked += [f"s3://{bucket}/a//b.jpg", f"s3://{bucket}/gone.jpg", f"s3://{abroad}/c.jpg"]
    assert leftovers.source_photos(asked, EU_REGIONS) == SourceCounts(there=3, gone=2, unknown=1)


def test_of_more_photos_than_are_asked_for_the_rest_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "MAX_PHOTOS", 2)
    asked = [f"{tmp_path}/{name}.jpg" for name in "abcde"]
    assert leftovers.source_photos(asked, EU_REGIONS) == SourceCounts(there=0, gone=2, unknown=3)


@pytest.mark.parametrize(
    ("below", "records"), [("/ph", 3), ("/photos", 3), ("/photos/", 3), ("/photos/Test", 0), ("/photos-2", 0)]
)
def test_records_that_name_an_erased_place_as_their_input_are_counted(
    output: Output, below: str, records: int
) -> None:
    selection = Selection(prefixes=(output.source.removesuffix("/photos") + below,))
    assert leftovers.records_naming(output.location, tables.snapshot(output.location), selection) == records
