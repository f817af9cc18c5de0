"""The whole run on photos in S3: a real S3 protocol, keys of every kind, and the EU guard before all else."""

from pathlib import Path

import boto3
import pytest

from tests.job.run.test_bad_input import ODD_NAMES
from tests.support.drivers import run
from tests.support.s3_servers import Moto
from tests.support.tables import FEATURIZED, REJECTED, table

pytestmark = pytest.mark.spark


def test_photos_in_s3_give_the_features_of_the_same_photos_in_a_folder(
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
    done = run(
        cache, "--input", f"s3a://{bucket}/in/", "--output", out, "--max-rejected", "0.2", "--components", 3
    )
    assert done.returncode == 0, done.stderr
    features, rejected = table(out, FEATURIZED), table(out, REJECTED)
    wanted = [f"s3://{bucket}/in/Training/Fruit é/{name}" for name in ODD_NAMES]
    assert sorted(features.index) == sorted([*wanted, f"s3://{bucket}/in/Test//double//slash.jpg"])
    assert rejected["reason"].to_dict() == {f"s3://{bucket}/in/Test/Fruit é/cut.jpg": "truncated"}
    assert set(features.loc[wanted, "label"]) == {"Fruit é"}
    assert set(features.loc[wanted, "split"]) == {"Training"}
    assert features["etag"].str.fullmatch(r"[0-9a-f]{32}").all()

    local = tmp_path / "local" / "Training" / "Fruit é"
    local.mkdir(parents=True)
    for name, photo in zip(ODD_NAMES, photos, strict=True):
        (local / name).write_bytes(photo.read_bytes())
    done = run(cache, "--input", tmp_path / "local", "--output", tmp_path / "out2", "--components", 3)
    assert done.returncode == 0, done.stderr
    there = table(tmp_path / "out2", FEATURIZED)
    for name, path in zip(ODD_NAMES, wanted, strict=True):
        ours, theirs = features.loc[path], there.loc[str(local / name)]
        assert ours["features"].tobytes() == theirs["features"].tobytes()
        assert ours["sha256"] == theirs["sha256"]


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-2"])
def test_a_bucket_outside_the_eu_is_refused_unread(
    cache: Path, tmp_path: Path, s3_server: str, moto: Moto, region: str
) -> None:
    name = f"far-{region}"
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    boto3.client("s3", endpoint_url=s3_server, region_name=region).create_bucket(Bucket=name, **where)
    before = len(moto.requests())
    done = run(cache, "--input", f"s3://{name}/photos", "--output", tmp_path / "out")
    assert done.returncode == 4, done.stderr
    assert f"bucket '{name}' is in {region}" in done.stderr.splitlines()[-1]
    assert all(line.startswith("HEAD") for line in moto.requests()[before:])
    assert not (tmp_path / "out").exists()
