"""Reads MobileNetV2's weights from each layout of Keras's files, with h5py alone.

``weights`` verifies the arrays by their fingerprint.
"""

import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from job.errors import UsageError

Weights = list[NDArray[np.float32]]

ARRAYS: Final = 260
# The backbone's layers with weights, by class: 17 blocks of (expansion, depthwise, projection), where the
# stem is the first block's expansion, and the last convolution. From keras.src.applications.mobilenet_v2.
CONV: Final = ("conv2d", "batch_normalization")
LAYERS: Final = (*CONV, "depthwise_conv2d", "batch_normalization", *CONV) * 17 + CONV


def read_hdf5(file: Path | io.BytesIO) -> Weights:
    """Read the backbone's 260 arrays in the order of Keras's ``get_weights()``.

    Parameters
    ----------
    file : Path or BytesIO
        Keras's published file, another ``.h5`` of weights or of a whole model, or one of Keras 3
        (``.weights.h5``, ``.keras``). Layers after the backbone, such as a top, are left out.

    Raises
    ------
    UsageError
        If the file is missing or has another layout.
    """
    import h5py  # noqa: PLC0415 (only needed where weights are not cached)

    name = file if isinstance(file, Path) else "the downloaded file"
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                file = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(file) as root:
            arrays = _keras_3_arrays(root["layers"]) if "layers" in root else _older_keras_arrays(root)
            return [np.asarray(array[()], dtype=np.float32) for array in islice(arrays, ARRAYS)]
    except FileNotFoundError:
        raise UsageError(f"weights file {name} does not exist") from None
    except Exception as error:  # noqa: BLE001 (on a corrupt file, HDF5 raises almost any type)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"{name} is not a file of Keras weights ({reason}): "
            "save one with Keras's model.save_weights('mobilenet_v2.weights.h5')"
        ) from None


def _older_keras_arrays(root: Any) -> Iterator[Any]:
    """Yield the arrays of a file that lists its layers, and for each layer its weights."""
    group = root.get("model_weights", root)
    for layer in (group[_text(name)] for name in group.attrs["layer_names"]):
        yield from (layer[_text(name)] for name in layer.attrs["weight_names"])


def _keras_3_arrays(layers: Any) -> Iterator[Any]:
    """Yield the arrays of a file that numbers the layers of each class, and within a layer its variables."""
    numbers: Counter[str] = Counter()
    for kind in LAYERS:
        name = f"{kind}_{numbers[kind]}" if numbers[kind] else kind
        numbers[kind] += 1
        yield from (layers[f"{name}/vars/{n}"] for n in range(4 if kind == "batch_normalization" else 1))


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
