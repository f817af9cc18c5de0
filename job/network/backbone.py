"""Prepares MobileNetV2 without its top on the driver, and runs it in the workers, on decoded photos.

The driver converts the verified weights once into a self-contained LiteRT program (weights, cast and scaling
inside) and broadcasts its bytes; each worker builds one interpreter from them. The engine ``tensorflow``
broadcasts ``get_weights()`` instead, and workers rebuild the Keras model: the fast engine is tested against
it.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from job.errors import JobError
from job.network import litert, weights
from job.network.keras_files import Weights
from job.network.quiet_stderr import quiet_stderr
from job.network.weights import FINGERPRINT
from job.photos.decode import DECODE_VERSION, SIDE

GRAPH_VERSION: Final = 1  # to be raised when the conversion of the same weights changes
TOLERANCE: Final = 1e-4  # largest difference between LiteRT's features and Keras's
FEATURES: Final = 1280  # the width of MobileNetV2's last pooling layer

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Pixels ``(224, 224, 3)`` uint8 → features ``(1280,)`` float32."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network, ready to be broadcast.

    Attributes
    ----------
    engine : {"litert", "tensorflow"}
    payload : bytes or list of arrays
        The LiteRT program, or the weights.
    key : str
        Hash of the payload, by which workers keep their networks.
    name : str
        The value of the ``backbone`` column, see :func:`name`.
    source : str
        Where the weights or the program came from, for the log.
    """

    engine: str
    payload: bytes | Weights
    key: str
    name: str
    source: str


def name(engine: str) -> str:
    """Return the name of an engine's network, without loading anything.

    It names all that a photo's features depend on. Each row of the table has it, and photos whose row has
    another name are featurized again.
    """
    runtime = "tensorflow" if engine == "tensorflow" else f"litert{_version('ai-edge-litert')}"
    return f"{_stem()}-{runtime}-decode{DECODE_VERSION}"


def _stem() -> str:
    """Return the part of the name that identifies a converted program: weights, converter and graph."""
    converter = _version("tensorflow-cpu", "tensorflow")
    return f"mobilenet_v2-{FINGERPRINT[:12]}-tf{converter}-graph{GRAPH_VERSION}"


def _version(*distributions: str) -> str:
    """Return the version of the first of these packages that is installed, without importing it."""
    for distribution in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return "none"


def load(engine: str, weights_file: Path | None, cache: Path) -> Backbone:
    """Return the network for an engine, from verified weights or from the cache.

    If the cache has a LiteRT program of the same weights and converter, TensorFlow is not imported; a
    `weights_file` is verified all the same.

    Raises
    ------
    UsageError
        If `weights_file` is missing or holds other weights.
    JobError
        If no source has the weights, or the converted network's features differ from Keras's.
    """
    arrays: Weights = []
    source = f"cache {cache}"
    program = _cached_program(cache) if engine == "litert" else None
    if weights_file is not None or program is None:
        arrays, source = weights.load(weights_file, cache)
    if engine == "tensorflow":
        return Backbone(engine, arrays, FINGERPRINT, name(engine), source)
    if program is None:
        with quiet_stderr():
            program = _convert(keras_model(arrays))
        weights.write_cache_file(_program_file(cache, program), program)
    return Backbone(engine, program, _sha256(program), name(engine), source)


_networks: dict[str, Network] = {}


def network(engine: str, key: str, payload: Callable[[], bytes | Weights]) -> Network:
    """Return this process's network for a :class:`Backbone`'s engine and key, built on first use.

    `payload` is called only when the network must be built.
    """
    if key not in _networks:
        build = _litert_network if engine == "litert" else _keras_network
        with quiet_stderr():
            _networks[key] = build(payload())
    return _networks[key]


def clear_networks() -> None:
    """Free the memory of this process's networks."""
    _networks.clear()


def keras_model(arrays: Weights) -> Any:
    """Build Keras's MobileNetV2 without its top, from its 260 arrays of weights.

    Its input is ``(n, 224, 224, 3)`` scaled to [-1, 1], its output ``(n, 1280)``.
    """
    model = _tensorflow().keras.applications.MobileNetV2(
        weights=None, include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3)
    )
    model.set_weights(arrays)
    return model


def _tensorflow() -> Any:
    """Import TensorFlow, here only, so that workers of the fast engine never load it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow  # noqa: PLC0415

    return tensorflow


def _convert(model: Any) -> bytes:
    """Convert to LiteRT: input ``(1, 224, 224, 3)`` uint8, output ``(1, 1280)`` float32.

    The scaling ``x / 127.5 - 1`` is Keras's ``mobilenet_v2.preprocess_input``. A feature that differs from
    Keras's by more than 1e-4 is a JobError.
    """
    tf = _tensorflow()

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.uint8)])  # type: ignore[untyped-decorator]
    def features(pixels: Any) -> Any:
        return model(tf.cast(pixels, tf.float32) / 127.5 - 1.0, training=False)

    # Given the model as second argument, the converter would silently leave Keras 3's variables out.
    functions = [features.get_concrete_function()]
    program: bytes = tf.lite.TFLiteConverter.from_concrete_functions(functions, None).convert()
    _compare(program, model)
    return program


def _compare(program: bytes, model: Any) -> None:
    """Compare a program's features of a noise image with Keras's, and refuse it if they differ."""
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    expected = model(picture[np.newaxis].astype(np.float32) / 127.5 - 1.0, training=False).numpy()[0]
    try:
        features = _litert_network(program)(picture)
    except (ValueError, RuntimeError) as error:
        raise JobError(f"LiteRT cannot run the converted network: {error}") from error
    same_shape = features.shape == expected.shape
    difference = float(np.abs(features - expected).max()) if same_shape else np.inf
    if not difference <= TOLERANCE:  # true for NaN, too
        raise JobError(f"the converted network differs from Keras's by {difference:g}, over {TOLERANCE:g}")


def _litert_network(payload: bytes | Weights) -> Network:
    assert isinstance(payload, bytes)
    run = litert.build(payload)
    return lambda pixels: run(pixels)[0]


def _keras_network(payload: bytes | Weights) -> Network:
    assert not isinstance(payload, bytes)
    tf = _tensorflow()
    # A worker has one core. TensorFlow refuses the setting outside workers if it has already started.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    model = keras_model(payload)
    preprocess = tf.keras.applications.mobilenet_v2.preprocess_input

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32)])  # type: ignore[untyped-decorator]
    def features(pixels: Any) -> Any:
        return model(preprocess(pixels), training=False)

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = features(pixels[np.newaxis].astype(np.float32)).numpy()[0]
        return result

    return run


def _cached_program(cache: Path) -> bytes | None:
    """Return a cached program whose bytes have the hash in its name."""
    with contextlib.suppress(OSError):  # an unreadable cache counts as empty
        for file in sorted(cache.glob(f"{_stem()}-*.tflite")):
            program = file.read_bytes()
            if file == _program_file(cache, program):
                return program
    return None


def _program_file(cache: Path, program: bytes) -> Path:
    return cache / f"{_stem()}-{_sha256(program)}.tflite"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
