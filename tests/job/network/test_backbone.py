"""The network: both engines do what Keras does, of one photo at a time, and nobody gets another program.

A program is kept for what it was made of, and made again when it is spoiled.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from functools import partial
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from job.errors import JobError, UsageError
from job.network import backbone, weights
from job.network.backbone import Backbone, Network, load, network
from job.network.keras_files import Weights
from job.network.weights import FINGERPRINT
from job.photos.decode import DECODE_VERSION, decode
from tests.support.keras_network import keras_network, real_weights, some
from tests.support.spark_session import CACHE, ROOT

ENGINES: Final = ("litert", "tensorflow")
NOISE: Final = np.random.default_rng(7).integers(0, 256, (224, 224, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache with verified weights and a program that this session has converted of them."""
    real_weights()
    cache = tmp_path_factory.mktemp("cache")
    shutil.copy(CACHE / f"mobilenet_v2-{FINGERPRINT[:12]}.npz", cache)
    load("litert", None, cache)
    return cache


@pytest.fixture(scope="session")
def engines(warm: Path) -> dict[str, Backbone]:
    return {engine: load(engine, None, warm) for engine in ENGINES}


@pytest.fixture(scope="session")
def networks(engines: dict[str, Backbone]) -> dict[str, Network]:
    return {
        engine: network(engine, one.key, partial(getattr, one, "payload")) for engine, one in engines.items()
    }


@pytest.fixture(scope="session")
def photos(sample: Path) -> NDArray[np.uint8]:
    return np.stack([decode(file.read_bytes()).pixels for file in some(sample, 200)])


@pytest.fixture(scope="session")
def wanted(sample: Path) -> NDArray[np.float32]:
    """Return what Keras makes of the photos, as any notebook would ask it: with Pillow, in batches."""
    from keras.applications.mobilenet_v2 import preprocess_input  # noqa: PLC0415

    resized = [np.asarray(Image.open(file).convert("RGB").resize((224, 224))) for file in some(sample, 200)]
    batches = preprocess_input(np.stack(resized).astype(np.float32))
    features: NDArray[np.float32] = keras_network().predict(batches, batch_size=32, verbose=0)
    return features


@pytest.mark.parametrize("engine", ENGINES)
def test_features_are_those_of_keras(
    networks: dict[str, Network], photos: NDArray[np.uint8], wanted: NDArray[np.float32], engine: str
) -> None:
    found = np.stack([networks[engine](photo) for photo in photos])
    assert found.shape == (len(photos), 1280)
    assert found.dtype == np.float32
    difference = np.abs(found - wanted).max()
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine = ((found * wanted).sum(axis=1) / lengths).min()
    print(f"{engine}: {len(photos)} photos, difference {difference:.1e}, cosine 1 - {1 - cosine:.1e}")
    assert difference <= 1e-4
    assert cosine >= 0.99999


@pytest.mark.parametrize("engine", ENGINES)
def test_a_photos_features_depend_on_nothing_else(
    networks: dict[str, Network], photos: NDArray[np.uint8], engine: str
) -> None:
    run = networks[engine]
    kept = [run(photo) for photo in photos[:12]]
    first = [features.tobytes() for features in kept]
    assert [run(photo).tobytes() for photo in reversed(photos[:12])] == first[::-1]
    assert [run(photos[3]).tobytes() for _ in range(2)] == [first[3]] * 2
    assert [features.tobytes() for features in kept] == first, "an answer is not written over by the next"
    read_only, strided = photos[0].copy(), np.asfortranarray(photos[0])
    read_only.flags.writeable = False
    assert run(read_only).tobytes() == run(strided).tobytes() == first[0]
    assert len(set(first)) == len({photo.tobytes() for photo in photos[:12]})


IN_ANOTHER_PROCESS: Final = """
import hashlib, json, sys, time
from pathlib import Path
import numpy as np
started = time.process_time()
from job.network import backbone
made = backbone.load(sys.argv[1], None, Path(sys.argv[2]))
seconds = time.process_time() - started
features = b""
if made.engine == "litert":
    noise = np.random.default_rng(7).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    features = backbone.network(made.engine, made.key, lambda: made.payload)(noise).tobytes()
heavy = sorted({"tensorflow", "keras", "h5py", "pyspark"} & set(sys.modules))
print(json.dumps([made.source, made.key, heavy, seconds, hashlib.sha256(features).hexdigest()]))
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_with_a_warm_cache_a_process_is_fast_silent_and_without_tensorflow(
    networks: dict[str, Network], engines: dict[str, Backbone], warm: Path, engine: str
) -> None:
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, engine, str(warm)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stderr == ""
    source, key, heavy, seconds, features = json.loads(run.stdout)
    assert source.startswith(f"cache {warm}")
    assert key == engines[engine].key
    assert heavy == []
    assert seconds < 3.0  # of CPU; TensorFlow alone takes as much to import
    if engine == "litert":
        assert features == hashlib.sha256(networks[engine](NOISE).tobytes()).hexdigest()


def test_what_is_broadcast_says_what_its_features_depend_on(engines: dict[str, Backbone], warm: Path) -> None:
    fast, reference = engines["litert"], engines["tensorflow"]
    assert isinstance(fast.payload, bytes)
    assert isinstance(reference.payload, list)
    assert fast.key == hashlib.sha256(fast.payload).hexdigest()
    assert reference.key == weights.fingerprint(reference.payload) == FINGERPRINT
    stem = f"mobilenet_v2-{FINGERPRINT[:12]}-tf{backbone._tensorflow().__version__}-graph1"
    assert fast.name == f"{stem}-litert{metadata.version('ai-edge-litert')}-decode{DECODE_VERSION}"
    assert reference.name == f"{stem}-tensorflow-decode{DECODE_VERSION}"
    assert [file.name for file in warm.glob("*.tflite")] == [f"{stem}-{fast.key}.tflite"]


def test_a_process_builds_one_network_for_each_key(engines: dict[str, Backbone]) -> None:
    fetched: list[str] = []

    def payload() -> bytes | Weights:
        fetched.append("payload")
        return engines["litert"].payload

    first = network("litert", "key-1", payload)
    assert network("litert", "key-1", payload) is first
    assert network("litert", "key-2", payload) is not first
    assert len(fetched) == 2, "no more than what is built is fetched"
    backbone.clear_networks()
    assert network("litert", "key-1", payload) is not first


def test_a_wrong_given_file_is_refused_though_the_program_is_cached(warm: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.h5").write_text("wrong")
    for engine in ENGINES:
        with pytest.raises(UsageError, match=r"wrong\.h5 is not a file of Keras weights"):
            load(engine, tmp_path / "wrong.h5", warm)


def test_a_program_that_does_not_do_what_keras_does_is_refused(
    engines: dict[str, Backbone], networks: dict[str, Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, right = keras_network(), engines["litert"].payload
    assert isinstance(right, bytes)
    backbone._compare(right, model)
    place = len(right) // 2 // 16 * 16  # in the middle of the weights
    one_weight = right[:place] + b"\0\0\0\x44" + right[place + 4 :]  # is 512 now
    with pytest.raises(JobError, match=r"differs from Keras's by \d"):
        backbone._compare(one_weight, model)
    for change, words in (
        (lambda features: features + np.float32(2e-4), "0.0002"),
        (lambda features: np.where(np.arange(1280) == 7, np.nan, features), "nan"),
        (lambda features: features[:1], "inf"),
    ):
        changed = partial(lambda to, photo: to(networks["litert"](photo)), change)
        monkeypatch.setattr(backbone, "_litert_network", lambda _, changed=changed: changed)
        with pytest.raises(JobError, match=f"differs from Keras's by {words}"):
            backbone._compare(right, model)


def test_a_wrong_program_reaches_nobody_and_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converter = backbone._tensorflow().lite.TFLiteConverter
    wrong = SimpleNamespace(convert=lambda: b"not a program")
    monkeypatch.setattr(converter, "from_concrete_functions", lambda *_: wrong)
    monkeypatch.setattr(weights, "load", lambda *_: ([], "some source"))
    monkeypatch.setattr(backbone, "keras_model", lambda _: keras_network())
    with pytest.raises(JobError, match="LiteRT cannot run the converted network") as caught:
        load("litert", None, tmp_path)
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Let conversions take no time; return the list of what they made."""
    made: list[bytes] = []

    def convert(_: object) -> bytes:
        made.append(b"program %d" % len(made))
        return made[-1]

    monkeypatch.setattr(backbone, "_convert", convert)
    monkeypatch.setattr(backbone, "keras_model", lambda found: found)
    monkeypatch.setattr(weights, "load", lambda *_: ([], "some source"))
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
    for number, spoiled in enumerate((b"Program 0", b""), 1):
        for kept in tmp_path.iterdir():
            kept.write_bytes(spoiled)
        again = load("litert", None, tmp_path)
        assert (again.payload, again.source) == (b"program %d" % number, "some source")
        assert load("litert", None, tmp_path).payload == again.payload
    assert file.read_bytes() == b""


@pytest.mark.parametrize(
    ("what", "value"),
    [("GRAPH_VERSION", 99), ("FINGERPRINT", "f" * 64), ("_version", lambda *names: names[-1])],
)
def test_a_program_is_of_one_version_of_the_weights_tensorflow_and_the_graph(
    converted: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, value: object
) -> None:
    load("litert", None, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(backbone, what, value)
        for _ in range(2):
            load("litert", None, tmp_path)
        assert len(converted) == 2
    load("litert", None, tmp_path)
    assert len(converted) == 2


def test_a_cache_that_cannot_be_used_only_costs_a_conversion(converted: list[bytes], tmp_path: Path) -> None:
    load("litert", None, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.unlink()
    file.mkdir()  # as unreadable as another user's file, for root too
    for cache in (tmp_path / "cache", Path("/proc/nope"), file / "x", tmp_path / ("x" * 300)):
        assert load("litert", None, cache).source == "some source"
    assert len(converted) == 5
