"""The network: MobileNetV2 without its top, from verified weights to something a worker can run.

The driver converts the network once into one self-contained LiteRT program (weights, cast and scaling inside)
and broadcasts its bytes; a worker builds an interpreter from them and keeps it for its life. The engine
``tensorflow`` broadcasts ``get_weights()`` instead and rebuilds the Keras model in the worker: it is the
reference that the fast engine is tested against.
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
from job.network import weights
from job.network.keras_files import Weights
from job.network.quiet_stderr import quiet_stderr
from job.network.weights import FINGERPRINT
from job.photos.decode import DECODE_VERSION, SIDE

GRAPH_VERSION: Final = 1  # goes up when the same weights would be converted to another program
TOLERANCE: Final = 1e-4  # largest difference between LiteRT's features and Keras's
FEATURES: Final = 1280  # the width of MobileNetV2's last pooling layer

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Pixels ``(224, 224, 3)`` uint8 → features ``(1280,)`` float32."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network ready to be broadcast.

    Attributes
    ----------
    engine : {"litert", "tensorflow"}
    payload : bytes or list of arrays
        The LiteRT program, or the weights.
    key : str
        Hash of the payload: workers keep one network for each.
    name : str
        What the ``backbone`` column says: everything that a photo's features depend on.
    source : str
        Where the weights or the program came from, for people.
    """

    engine: str
    payload: bytes | Weights
    key: str
    name: str
    source: str


def name(engine: str) -> str:
    """Return the name of an engine's network, without loading anything.

    It tells everything that a photo's features depend on, and stands in each row of features; rows of another
    name are made again.
    """
    runtime = "tensorflow" if engine == "tensorflow" else f"litert{_version('ai-edge-litert')}"
    return f"{_stem()}-{runtime}-decode{DECODE_VERSION}"


def _stem() -> str:
    """Return what tells one converted program from another: weights, converter and graph."""
    converter = _version("tensorflow-cpu", "tensorflow")
    return f"mobilenet_v2-{FINGERPRINT[:12]}-tf{converter}-graph{GRAPH_VERSION}"


def _version(*distributions: str) -> str:
    """Return the version of the first of some packages that is installed, without importing it."""
    for distribution in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return "none"


def load(engine: str, given: Path | None, cache: Path) -> Backbone:
    """Get and verify the weights and make them ready for an engine.

    A LiteRT program of the same weights and converter is taken from `cache`; TensorFlow is not imported then.
    A wrong file that is `given` is refused even so.

    Raises
    ------
    UsageError
        If `given` is missing or holds other weights.
    JobError
        If no source of weights serves, or the converted network does not do what Keras's does.
    """
    arrays: Weights = []
    source = f"cache {cache}"
    program = _cached_program(cache) if engine == "litert" else None
    if given is not None or program is None:
        arrays, source = weights.get(given, cache)
    if engine == "tensorflow":
        return Backbone(engine, arrays, FINGERPRINT, name(engine), source)
    if program is None:
        with quiet_stderr():
            program = _convert(keras_model(arrays))
        weights.keep(_program_file(cache, program), program)
    return Backbone(engine, program, _sha256(program), name(engine), source)


_networks: dict[str, Network] = {}


def network(engine: str, key: str, payload: Callable[[], bytes | Weights]) -> Network:
    """Return this process's network for a :class:`Backbone`'s engine and key, built on first use and kept.

    The payload is only asked for when the network must be built.
    """
    if key not in _networks:
        build = _litert_network if engine == "litert" else _keras_network
        with quiet_stderr():
            _networks[key] = build(payload())
    return _networks[key]


def forget() -> None:
    """Let go of this process's networks, and of their memory."""
    _networks.clear()


def keras_model(arrays: Weights) -> Any:
    """Build Keras's MobileNetV2 without its top, from its 260 arrays of weights.

    It takes ``(n, 224, 224, 3)`` scaled to [-1, 1] and gives ``(n, 1280)``.
    """
    model = _tensorflow().keras.applications.MobileNetV2(
        weights=None, include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3)
    )
    model.set_weights(arrays)
    return model


def _tensorflow() -> Any:
    """Import TensorFlow: the only place that does, so that no worker of the fast engine ever loads it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow  # noqa: PLC0415

    return tensorflow


def _convert(model: Any) -> bytes:
    """Convert to LiteRT: input ``(1, 224, 224, 3)`` uint8, output ``(1, 1280)`` float32.

    The scaling ``x / 127.5 - 1`` is Keras's ``mobilenet_v2.preprocess_input``. Nobody gets the program unless
    it does what Keras does: a difference above 1e-4 anywhere is a JobError.
    """
    tf = _tensorflow()

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.uint8)])  # type: ignore[untyped-decorator]
    def features(pixels: Any) -> Any:
        return model(tf.cast(pixels, tf.float32) / 127.5 - 1.0, training=False)

    # Without the model beside it: the converter would leave Keras 3's variables out and say nothing.
    functions = [features.get_concrete_function()]
    program: bytes = tf.lite.TFLiteConverter.from_concrete_functions(functions, None).convert()
    _compare(program, model)
    return program


def _compare(program: bytes, model: Any) -> None:
    """Run a program once against Keras, on noise, and refuse it if it does something else."""
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    wanted = model(picture[np.newaxis].astype(np.float32) / 127.5 - 1.0, training=False).numpy()[0]
    try:
        found = _litert_network(program)(picture)
    except (ValueError, RuntimeError) as error:
        raise JobError(f"LiteRT cannot run the converted network: {error}") from error
    difference = float(np.abs(found - wanted).max()) if found.shape == wanted.shape else np.inf
    if not difference <= TOLERANCE:  # also when it is not a number
        raise JobError(f"the converted network differs from Keras's by {difference:g}, over {TOLERANCE:g}")


def _litert_network(payload: bytes | Weights) -> Network:
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 (where the work happens)

    interpreter = Interpreter(model_content=payload, num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    result = interpreter.get_output_details()[0]["index"]

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        interpreter.set_tensor(source, pixels[np.newaxis])
        interpreter.invoke()
        features: NDArray[np.float32] = interpreter.get_tensor(result)[0]
        return features

    return run


def _keras_network(payload: bytes | Weights) -> Network:
    assert not isinstance(payload, bytes)
    tf = _tensorflow()
    # A worker has one core. Where TensorFlow is at work already, as in no worker, it keeps its threads.
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
    """Return a cached program whose bytes still have the hash in its name."""
    with contextlib.suppress(OSError):  # a cache that cannot be read is none
        for file in sorted(cache.glob(f"{_stem()}-*.tflite")):
            program = file.read_bytes()
            if file == _program_file(cache, program):
                return program
    return None


def _program_file(cache: Path, program: bytes) -> Path:
    return cache / f"{_stem()}-{_sha256(program)}.tflite"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
