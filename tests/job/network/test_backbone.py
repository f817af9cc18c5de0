"""The network: both engines compute Keras's features, one photo at a time.

A converted program is checked before use, cached by its versions, and converted again when it is damaged.
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
    """Return a cache with verified weights and the program that this session converted from them."""
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
        engine: network(engine, loaded.key, partial(getattr, loaded, "payload"))
        for engine, loaded in engines.items()
    }


@pytest.fixture(scope="session")
def photos(sample: Path) -> NDArray[np.uint8]:
    return np.stack([decode(file.read_bytes()).pixels for file in some(sample, 200)])


@pytest.fixture(scope="session")
def expected(sample: Path) -> NDArray[np.float32]:
    """Return Keras's own features of the photos, resized by Pillow and predicted in batches."""
    from keras.applications.mobilenet_v2 import preprocess_input  # noqa: PLC0415

    resized = [np.asarray(Image.open(file).convert("RGB").resize((224, 224))) for file in some(sample, 200)]
    batches = preprocess_input(np.stack(resized).astype(np.float32))
    features: NDArray[np.float32] = keras_network().predict(batches, batch_size=32, verbose=0)
    return features


@pytest.mark.parametrize("engine", ENGINES)
def test_features_are_those_of_keras(
    networks: dict[str, Network], photos: NDArray[np.uint8], expected: NDArray[np.float32], engine: str
) -> None:
    features = np.stack([networks[engine](photo) for photo in photos])
    assert features.shape == (len(photos), 1280)
    assert features.dtype == np.float32
    difference = np.abs(features - expected).max()
    lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = ((features * expected).sum(axis=1) / lengths).min()
    print(f"{engine}: {len(photos)} photos, difference {difference:.1e}, cosine 1 - {1 - cosine:.1e}")
    assert difference <= 1e-4
    assert cosine >= 0.99999


@pytest.mark.parametrize("engine", ENGINES)
def test_the_features_depend_only_on_the_photo(
    networks: dict[str, Network], photos: NDArray[np.uint8], engine: str
) -> None:
    compute = networks[engine]
    kept = [compute(photo) for photo in photos[:12]]
    first = [features.tobytes() for features in kept]
    assert [compute(photo).tobytes() for photo in reversed(photos[:12])] == first[::-1]
    assert [compute(photos[3]).tobytes() for _ in range(2)] == [first[3]] * 2
    assert [features.tobytes() for features in kept] == first, "a later call overwrites no result"
    read_only, strided = photos[0].copy(), np.asfortranarray(photos[0])
    read_only.flags.writeable = False
    assert compute(read_only).tobytes() == compute(strided).tobytes() == first[0]
    assert len(set(first)) == len({photo.tobytes() for photo in photos[:12]})


IN_ANOTHER_PROCESS: Final = """
import hashlib, json, sys, time
from pathlib import Path
import numpy as np
started = time.process_time()
from job.network import backbone
loaded = backbone.load(sys.argv[1], None, Path(sys.argv[2]))
seconds = time.process_time() - started
features = b""
if loaded.engine == "litert":
    noise = np.random.default_rng(7).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    features = backbone.network(loaded.engine, loaded.key, lambda: loaded.payload)(noise).tobytes()
heavy = sorted({"tensorflow", "keras", "h5py", "pyspark"} & set(sys.modules))
print(json.dumps([loaded.source, loaded.key, heavy, seconds, hashlib.sha256(features).hexdigest()]))
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_with_a_warm_cache_a_process_is_fast_silent_and_without_tensorflow(
    networks: dict[str, Network], engines: dict[str, Backbone], warm: Path, engine: str
) -> None:
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, engine, str(warm)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stderr == ""
    source, key, heavy, seconds, features = json.loads(result.stdout)
    assert source.startswith(f"cache {warm}")
    assert key == engines[engine].key
    assert heavy == []
    assert seconds < 3.0  # of CPU; importing TensorFlow alone takes as long
    if engine == "litert":
        assert features == hashlib.sha256(networks[engine](NOISE).tobytes()).hexdigest()


def test_names_and_keys_hold_all_that_the_features_depend_on(
    engines: dict[str, Backbone], warm: Path
) -> None:
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
    fetches: list[str] = []

    def payload() -> bytes | Weights:
        fetches.append("payload")
        return engines["litert"].payload

    first = network("litert", "key-1", payload)
    assert network("litert", "key-1", payload) is first
    assert network("litert", "key-2", payload) is not first
    assert len(fetches) == 2, "each network fetches its payload once"
    backbone.clear_networks()
    assert network("litert", "key-1", payload) is not first


def test_a_wrong_given_file_is_refused_despite_a_cached_program(warm: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.h5").write_text("wrong")
    for engine in ENGINES:
        with pytest.raises(UsageError, match=r"wrong\.h5 is not a file of Keras weights"):
            load(engine, tmp_path / "wrong.h5", warm)


def test_a_program_that_differs_from_keras_is_refused(
    engines: dict[str, Backbone], networks: dict[str, Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, right = keras_network(), engines["litert"].payload
    assert isinstance(right, bytes)
    backbone._compare(right, model)
    offset = len(right) // 2 // 16 * 16  # in the middle of the weights
    one_weight = right[:offset] + b"\0\0\0\x44" + right[offset + 4 :]  # is now 512
    with pytest.raises(JobError, match=r"differs from Keras's by \d"):
        backbone._compare(one_weight, model)
    for change, difference in (
        (lambda features: features + np.float32(2e-4), "0.0002"),
        (lambda features: np.where(np.arange(1280) == 7, np.nan, features), "nan"),
        (lambda features: features[:1], "inf"),
    ):
        changed = partial(lambda to, photo: to(networks["litert"](photo)), change)
        monkeypatch.setattr(backbone, "_litert_network", lambda _, changed=changed: changed)
        with pytest.raises(JobError, match=f"differs from Keras's by {difference}"):
            backbone._compare(right, model)


def test_a_broken_program_is_refused_and_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    """Replace the conversion by a quick one, and return the list of its programs."""
    programs: list[bytes] = []

    def convert(_: object) -> bytes:
        programs.append(b"program %d" % len(programs))
        return programs[-1]

    monkeypatch.setattr(backbone, "_convert", convert)
    monkeypatch.setattr(backbone, "keras_model", lambda arrays: arrays)
    monkeypatch.setattr(weights, "load", lambda *_: ([], "some source"))
    return programs


def test_a_program_is_cached_and_a_damaged_one_is_converted_again(
    converted: list[bytes], tmp_path: Path
) -> None:
    assert load("litert", None, tmp_path).source == "some source"
    (file,) = tmp_path.iterdir()
    assert load("litert", None, tmp_path).payload == b"program 0"
    assert load("litert", None, tmp_path).source == f"cache {tmp_path}"
    assert load("litert", Path("given.h5"), tmp_path).source == "some source"
    assert len(converted) == 1
    for number, damaged in enumerate((b"Program 0", b""), 1):
        for cached in tmp_path.iterdir():
            cached.write_bytes(damaged)
        again = load("litert", None, tmp_path)
        assert (again.payload, again.source) == (b"program %d" % number, "some source")
        assert load("litert", None, tmp_path).payload == again.payload
    assert file.read_bytes() == b""


@pytest.mark.parametrize(
    ("name", "value"),
    [("GRAPH_VERSION", 99), ("FINGERPRINT", "f" * 64), ("_version", lambda *names: names[-1])],
)
def test_a_program_is_cached_per_version_of_weights_tensorflow_and_graph(
    converted: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    load("litert", None, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(backbone, name, value)
        for _ in range(2):
            load("litert", None, tmp_path)
        assert len(converted) == 2
    load("litert", None, tmp_path)
    assert len(converted) == 2


def test_an_unusable_cache_causes_a_conversion(converted: list[bytes], tmp_path: Path) -> None:
    load("litert", None, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.unlink()
    file.mkdir()  # as unreadable as another user's file, for root too
    for cache in (tmp_path / "cache", Path("/proc/nope"), file / "x", tmp_path / ("x" * 300)):
        assert load("litert", None, cache).source == "some source"
    assert len(converted) == 5
