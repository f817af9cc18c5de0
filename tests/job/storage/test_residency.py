"""The EU guard: foreign buckets are refused before any object is listed, read or written."""

import pytest

from job.errors import ResidencyError, UsageError
from job.storage import aws, residency
from job.storage.residency import EU_REGIONS
from tests.support.s3_servers import Moto, ScriptedS3, make_bucket


def test_folders_need_no_request(scripted_s3: ScriptedS3) -> None:
    residency.check(["/photos", "/out"], EU_REGIONS)
    assert scripted_s3.asked == []


@pytest.mark.parametrize("region", EU_REGIONS)
def test_a_bucket_in_the_eu_is_accepted(s3_server: str, region: str) -> None:
    assert s3_server
    residency.check([f"s3://{make_bucket(region)}/photos", "/out"], EU_REGIONS)


# London and Zurich are in Europe and not in the EU.
@pytest.mark.parametrize("region", ["us-east-1", "us-west-2", "eu-west-2", "eu-central-2", "ap-south-1"])
@pytest.mark.parametrize("role", ["input", "output"])
def test_a_bucket_elsewhere_is_refused_before_any_object_is_touched(
    moto: Moto, bucket: str, region: str, role: str
) -> None:
    outside = make_bucket(region)
    before = len(moto.requests())
    locations = [f"s3://{bucket}/photos", f"s3://{outside}/out"]
    with pytest.raises(ResidencyError, match=f"bucket '{outside}' is in {region}") as caught:
        residency.check(locations if role == "output" else locations[::-1], EU_REGIONS)
    assert caught.value.exit_code == 4
    assert "eu-west-1, eu-west-3" in str(caught.value)
    requests = moto.requests()[before:]
    assert requests
    # The requests name buckets only.
    assert {request.rpartition("/")[0] for request in requests} == {"HEAD "}


def test_regions_can_be_narrowed(bucket: str) -> None:
    residency.check([f"s3://{bucket}"], ["eu-west-1"])
    with pytest.raises(ResidencyError, match="not among eu-central-1"):
        residency.check([f"s3://{bucket}"], ["eu-central-1"])


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-2"])
def test_a_session_elsewhere_is_refused_before_any_request(
    scripted_s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    with pytest.raises(ResidencyError, match=f"the AWS session is set to {region}.*: set AWS_REGION"):
        residency.check(["s3://photos"], EU_REGIONS)
    assert scripted_s3.asked == []


def test_a_session_without_a_region_is_accepted_and_signs_for_the_eu(
    scripted_s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    residency.check(["s3://photos"], EU_REGIONS)
    assert aws.session().region_name is None
    assert "/eu-west-1/s3/" in scripted_s3.asked[0][2]


def test_a_buckets_region_is_requested_once_for_all_locations_in_it(scripted_s3: ScriptedS3) -> None:
    residency.check(["s3://b1/a", "s3://b1/b", "s3://b1", "s3://b2"], EU_REGIONS)
    assert [method for method, _, _ in scripted_s3.asked] == ["HEAD", "HEAD"]


def test_a_missing_bucket_is_a_usage_error(s3_server: str) -> None:
    assert s3_server
    with pytest.raises(UsageError, match="there is no bucket 'no-such-bucket': check the name"):
        residency.check(["s3://no-such-bucket/photos"], EU_REGIONS)


def test_missing_credentials_are_a_usage_error(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert s3_server
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UsageError, match="no AWS credentials"):
        residency.check(["s3://photos"], EU_REGIONS)
