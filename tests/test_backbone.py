"""The network: both engines do what Keras does, for one photo at a time, from programs that can be trusted."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from job import backbone, weights
from job.backbone import Backbone, Network, load, network
from job.errors import JobError, UsageError
from job.quiet import quiet_stderr
from job.weights import FINGERPRINT
from tests.network import CACHE, ROOT, keras_network, pictures, real_weights

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
    return {engine: network(engine, one.key, lambda one=one: one.payload) for engine, one in engines.items()}


@pytest.fixture(scope="session")
def photos(sample: Path) -> NDArray[np.uint8]:
    return pictures(sample, 200)


@pytest.fixture(scope="session")
def wanted(photos: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what Keras makes of the photos, as anybody would ask it: in batches."""
    from keras.applications.mobilenet_v2 import preprocess_input  # noqa: PLC0415

    features: NDArray[np.float32] = keras_network().predict(
        preprocess_input(photos.astype(np.float32)), batch_size=32, verbose=0
    )
    return features


@pytest.mark.parametrize("engine", ENGINES)
def test_features_are_those_of_keras(
    networks: dict[str, Network], photos: NDArray[np.uint8], wanted: NDArray[np.float32], engine: str
) -> None:
    found = np.stack([networks[engine](photo) for photo in photos])
    assert (found.shape, found.dtype) == ((len(photos), 1280), np.float32)
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
    some = list(photos[:12])
    first = [run(photo).tobytes() for photo in some]
    kept = run(some[0])
    assert [run(photo).tobytes() for photo in reversed(some)] == first[::-1]
    assert [run(photo).tobytes() for photo in some for _ in range(2)] == [
        one for one in first for _ in range(2)
    ]
    assert kept.tobytes() == first[0], "an answer is not written over by the next"
    read_only, strided = some[0].copy(), np.asfortranarray(some[0])
    read_only.flags.writeable = False
    assert run(read_only).tobytes() == run(strided).tobytes() == first[0]
    assert len(set(first)) == len(set(photo.tobytes() for photo in some))


IN_ANOTHER_PROCESS: Final = """
import sys, time
from pathlib import Path
started = time.process_time()
from job import backbone
made = backbone.load(sys.argv[1], None, Path(sys.argv[2]))
loaded = time.process_time() - started
heavy = sorted({"tensorflow", "keras", "h5py", "pyspark"} & set(sys.modules))
import hashlib, json
import numpy as np
noise = np.random.default_rng(7).integers(0, 256, (224, 224, 3), dtype=np.uint8)
features = backbone.network(made.engine, made.key, lambda: made.payload)(noise)
after = sorted({"tensorflow", "keras", "h5py", "pyspark"} & set(sys.modules))
print(json.dumps([made.source, made.key, heavy, after, loaded, hashlib.sha256(features.tobytes()).hexdigest()]))
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_with_a_warm_cache_loading_is_fast_silent_and_without_tensorflow(
    networks: dict[str, Network], engines: dict[str, Backbone], warm: Path, engine: str
) -> None:
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, engine, str(warm)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stderr == ""
    source, key, heavy, after, seconds, features = json.loads(run.stdout)
    assert source.startswith(f"cache {warm}")
    assert key == engines[engine].key
    assert heavy == []
    assert seconds < 3.0  # of CPU; TensorFlow alone takes as much to import
    if engine == "litert":
        assert after == [], "nor does a worker ever load it"
        assert features == hashlib.sha256(networks[engine](NOISE).tobytes()).hexdigest()


def test_what_is_broadcast_says_what_it_is(engines: dict[str, Backbone], warm: Path) -> None:
    fast, reference = engines["litert"], engines["tensorflow"]
    assert isinstance(fast.payload, bytes)
    assert fast.key == hashlib.sha256(fast.payload).hexdigest()
    assert fast.name == f"mobilenet_v2-{FINGERPRINT[:12]}-tf2.21.0-graph1-litert2.3.0-decode1"
    assert reference.name == f"mobilenet_v2-{FINGERPRINT[:12]}-tf2.21.0-graph1-tensorflow-decode1"
    assert reference.key == FINGERPRINT == weights.fingerprint(list(reference.payload))  # type: ignore[arg-type]
    assert [file.name for file in warm.glob("*.tflite")] == [
        f"mobilenet_v2-{FINGERPRINT[:12]}-tf2.21.0-graph1-{fast.key}.tflite"
    ]


def test_a_process_builds_one_network_for_each_key(engines: dict[str, Backbone]) -> None:
    fetched: list[str] = []

    def payload(key: str) -> Callable[[], Any]:
        return lambda: fetched.append(key) or engines["litert"].payload

    first = network("litert", "key-1", payload("key-1"))
    assert network("litert", "key-1", payload("key-1")) is first
    assert network("litert", "key-2", payload("key-2")) is not first
    assert fetched == ["key-1", "key-2"]


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
    monkeypatch.setattr(weights, "get", lambda *_: (real_weights(), "some source"))
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
    version = backbone._version
    with monkeypatch.context() as patch:
        patch.setattr(
            backbone, "_version", lambda *names: "9.9" if "tensorflow" in names else version(*names)
        )
        assert [made(), made()] == [2, 2]
    with monkeypatch.context() as patch:
        patch.setattr(backbone, "GRAPH_VERSION", 99)
        assert [made(), made()] == [3, 3]
    with monkeypatch.context() as patch:
        patch.setattr(backbone, "FINGERPRINT", "f" * 64)
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


def test_a_wrong_given_file_is_refused_though_the_program_is_cached(warm: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.h5").write_text("wrong")
    for engine in ENGINES:
        with pytest.raises(UsageError, match=r"wrong\.h5 is not a file of Keras weights"):
            load(engine, tmp_path / "wrong.h5", warm)


def test_a_program_that_does_not_do_what_keras_does_reaches_nobody(
    engines: dict[str, Backbone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tf, model = backbone._tensorflow(), keras_network()
    right = engines["litert"].payload
    assert isinstance(right, bytes)
    backbone._compare(right, model)

    def program(features: Callable[[Any], Any], kind: Any = tf.uint8) -> bytes:
        graph = tf.function(features, input_signature=[tf.TensorSpec((1, 224, 224, 3), kind)])
        with quiet_stderr():
            made: bytes = tf.lite.TFLiteConverter.from_concrete_functions(
                [graph.get_concrete_function()]
            ).convert()
        return made

    def constant(*shape: int, value: float = 0.0) -> Callable[[Any], Any]:
        return lambda pixels: tf.reduce_sum(tf.cast(pixels, tf.float32)) * 0.0 + tf.fill(shape, value)

    place = right.index(real_weights()[-5].tobytes()[:64])  # the kernel of the last convolution
    for wrong, words in (
        (program(constant(1, 1280)), "differs from Keras's by"),
        (program(constant(1, 1280, value=float("nan"))), "differs from Keras's by nan"),
        (program(constant(1, 1)), "differs from Keras's by inf"),
        (program(constant(1, 1280), tf.float32), "LiteRT cannot run the converted network"),
        (right[:place] + b"\0\0\0\x44" + right[place + 4 :], "differs from Keras's by"),
        (b"not a program", "LiteRT cannot run the converted network"),
    ):
        with pytest.raises(JobError, match=words) as caught, quiet_stderr():
            backbone._compare(wrong, model)
        assert caught.value.exit_code == 1

    wrong_converter = type("Wrong", (), {"convert": lambda _: wrong})()
    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_concrete_functions", lambda *_: wrong_converter)
    monkeypatch.setattr(weights, "get", lambda *_: (real_weights(), "some source"))
    with pytest.raises(JobError, match="LiteRT cannot run"):
        load("litert", None, tmp_path)
    assert os.listdir(tmp_path) == []  # noqa: PTH208
