"""The whole run on photos in S3: odd keys are read, and buckets outside the EU are refused first."""

from pathlib import Path

import boto3
import pytest

from tests.job.run.test_bad_input import ODD_NAMES
from tests.support.drivers import run
from tests.support.s3_servers import Moto
from tests.support.tables import FEATURIZED, REJECTED, table

pytestmark = pytest.mark.spark


def test_photos_in_s3_give_the_same_features_as_in_a_folder(
    cache: Path, sample: Path, tmp_path: Path, bucket: str, moto: Moto
) -> None:
    client = boto3.client("s3", endpoint_url=moto.url)
    photos = sorted(sample.rglob("*.jpg"))[: len(ODD_NAMES) * 30 : 30]
    for name, photo in zip(ODD_NAMES, photos, strict=True):
        client.put_object(Bucket=bucket, Key=f"in/Training/Fruit é/{name}", Body=photo.read_bytes())
    client.put_object(Bucket=bucket, Key="in/Test//double//slash.jpg", Body=photos[0].read_bytes())
    client.put_object(Bucket=bucket, Key="in/Test/Fruit é/cut.jpg", Body=photos[1].read_bytes()[:900])
    client.put_object(Bucket=bucket, Key="in/notes.txt", Body=b"no photo")
    client.put_object(Bucket=bucket, Key="inside/not-asked-for.jpg", Body=b"another prefix")
    out = tmp_path / "out"
    result = run(
        cache, "--input", f"s3a://{bucket}/in/", "--output", out, "--max-rejected", "0.2", "--components", 3
    )
    assert result.returncode == 0, result.stderr
    features, rejected = table(out, FEATURIZED), table(out, REJECTED)
    paths = [f"s3://{bucket}/in/Training/Fruit é/{name}" for name in ODD_NAMES]
    assert sorted(features.index) == sorted([*paths, f"s3://{bucket}/in/Test//double//slash.jpg"])
    assert rejected["reason"].to_dict() == {f"s3://{bucket}/in/Test/Fruit é/cut.jpg": "truncated"}
    assert set(features.loc[paths, "label"]) == {"Fruit é"}
    assert set(features.loc[paths, "split"]) == {"Training"}
    assert features["etag"].str.fullmatch(r"[0-9a-f]{32}").all()

    local = tmp_path / "local" / "Training" / "Fruit é"
    local.mkdir(parents=True)
    for name, photo in zip(ODD_NAMES, photos, strict=True):
        (local / name).write_bytes(photo.read_bytes())
    result = run(cache, "--input", tmp_path / "local", "--output", tmp_path / "out2", "--components", 3)
    assert result.returncode == 0, result.stderr
    local_features = table(tmp_path / "out2", FEATURIZED)
    for name, path in zip(ODD_NAMES, paths, strict=True):
        in_s3, in_folder = features.loc[path], local_features.loc[str(local / name)]
        assert in_s3["features"].tobytes() == in_folder["features"].tobytes()
        assert in_s3["sha256"] == in_folder["sha256"]


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-2"])
def test_a_bucket_outside_the_eu_is_refused_unread(
    cache: Path, tmp_path: Path, s3_server: str, moto: Moto, region: str
) -> None:
    name = f"far-{region}"
    options = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    boto3.client("s3", endpoint_url=s3_server, region_name=region).create_bucket(Bucket=name, **options)
    before = len(moto.requests())
    result = run(cache, "--input", f"s3://{name}/photos", "--output", tmp_path / "out")
    assert result.returncode == 4, result.stderr
    assert f"bucket '{name}' is in {region}" in result.stderr.splitlines()[-1]
    assert all(line.startswith("HEAD") for line in moto.requests()[before:])
    assert not (tmp_path / "out").exists()
