"""Fixtures of several test modules: S3 servers, an emulated AWS, outputs and photos."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from botocore.loaders import JSONFileLoader

from job.network import backbone
from job.storage import aws, s3
from scripts.fruit.draw import draw_set
from tests.support import aws_emulator as clouds
from tests.support import cloud_stage, outputs
from tests.support.checked import requests
from tests.support.recorders.desk import Desk, sit
from tests.support.s3_servers import REGION, Moto, ScriptedS3, make_bucket, running_moto, running_scripted_s3

ROOT: Final = Path(__file__).parents[1]
DUMMY: Final = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
}
# The caches of a process. They stand here because a test may replace these functions.
CACHES: Final = (aws.session, aws.bucket_region, s3.store, s3.client)


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """Run moto_server, once."""
    with running_moto(tmp_path_factory.mktemp("moto") / "log") as server:
        yield server


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Give AWS clients dummy credentials in Ireland and none of this machine's settings; tests set more."""
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_CA_BUNDLE"]:
        monkeypatch.delenv(name)
    for name, value in DUMMY.items():
        monkeypatch.setenv(name, value)
    _clear_caches()
    yield monkeypatch
    _clear_caches()


def _clear_caches() -> None:
    for cached in CACHES:
        cached.cache_clear()


@pytest.fixture
def s3_server(moto: Moto, aws_environment: pytest.MonkeyPatch) -> str:
    """Point AWS clients, of this process and of its children, at moto_server; return its URL."""
    aws_environment.setenv("AWS_ENDPOINT_URL", moto.url)
    return moto.url


@pytest.fixture
def bucket(s3_server: str) -> str:
    """Make a new bucket in Ireland, and return its name."""
    assert s3_server == os.environ["AWS_ENDPOINT_URL"]
    return make_bucket()


@pytest.fixture
def scripted_s3(aws_environment: pytest.MonkeyPatch) -> Iterator[ScriptedS3]:
    """Point AWS clients at a server that answers what the test says."""
    with running_scripted_s3() as server:
        aws_environment.setenv("AWS_ENDPOINT_URL", server.url)
        yield server


@pytest.fixture(scope="session")
def _emulator() -> Iterator[clouds.Cloud]:
    """Run the emulator, once; botocore reads each model once, and retries without waiting."""
    with pytest.MonkeyPatch.context() as patch, clouds.running() as running:
        loader: Any = JSONFileLoader
        load = cache(loader()._load_file)
        patch.setattr(loader, "_load_file", lambda self, *words: load(*words))  # noqa: ARG005
        patch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None, time=time.time))
        yield running


@pytest.fixture
def cloud(
    _emulator: clouds.Cloud, aws_environment: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[clouds.Cloud]:
    """Point AWS clients, of this process and of its children, at an empty emulator of AWS.

    Their requests are checked against the services' models and recorded in ``tmp_path/api-calls``.
    """
    _emulator.clear()
    calls = tmp_path / "api-calls"
    aws_environment.setenv("AWS_ENDPOINT_URL", _emulator.url)
    aws_environment.setenv("API_CALLS", str(calls))
    aws_environment.setenv("PYTHONPATH", f"{ROOT / 'tests' / 'support' / 'checked'}{os.pathsep}{ROOT}")
    with requests.installed(calls):
        yield _emulator


@pytest.fixture
def dev_stage(cloud: clouds.Cloud) -> cloud_stage.CloudStage:
    """Make the stage ``dev`` in the emulator."""
    return cloud_stage.make(cloud)


@pytest.fixture
def desk(
    cloud: clouds.Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Desk:
    """Return a desk from which a test calls cluster.sh; the cloud is empty."""
    return sit(cloud, tmp_path, monkeypatch, capsys)


@pytest.fixture
def standing(desk: Desk) -> None:
    """Build a stage, so that the test finds it up."""
    desk.build()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Return threads for fetching."""
    with ThreadPoolExecutor(8) as threads:
        yield threads


@pytest.fixture(scope="session")
def _whole_output(tmp_path_factory: pytest.TempPathFactory) -> outputs.Output:
    folder = tmp_path_factory.mktemp("output")
    with pytest.MonkeyPatch.context() as patch:
        outputs.quick(patch)
        return outputs.make(str(folder / "out"), outputs.photos(folder / "photos", 64))


@pytest.fixture
def output(_whole_output: outputs.Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> outputs.Output:
    """Return an output of two runs on 64 photos, each of few features, that a test may change."""
    outputs.quick(monkeypatch)
    return outputs.copied(_whole_output, str(tmp_path / "out"))


@pytest.fixture(scope="session")
def program(cache: Path) -> bytes:
    """Return the network as a LiteRT program."""
    payload = backbone.load("litert", None, cache).payload
    assert isinstance(payload, bytes)
    return payload


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of photos, in Training and Test: real ones if they lie beside the repository."""
    real = ROOT.parent / "shared/fruits-360/sample"
    if real.is_dir():
        print(f"photos: Fruits-360, {real}")
        return real
    drawn = tmp_path_factory.mktemp("drawn") / "fruit"
    # More photos than the 1280 features: on fewer, Spark's own PCA, with which ours is compared, is far off.
    print(f"photos: {draw_set(drawn, photos=90)} drawn ones, {drawn}")
    return drawn
