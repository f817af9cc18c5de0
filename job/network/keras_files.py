"""The files Keras keeps weights in: MobileNetV2's backbone is read from each of their layouts by h5py alone.

What is read here is not trusted: ``weights`` compares its fingerprint.
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
# The backbone's layers that hold weights, by class: 17 blocks of (expansion, depthwise, projection), the stem
# being the first block's expansion, and the last convolution. From keras.src.applications.mobilenet_v2.
CONV: Final = ("conv2d", "batch_normalization")
LAYERS: Final = (*CONV, "depthwise_conv2d", "batch_normalization", *CONV) * 17 + CONV


def read_hdf5(file: Path | io.BytesIO) -> Weights:
    """Read the backbone's 260 arrays in the order of Keras's ``get_weights()``.

    Parameters
    ----------
    file : Path or BytesIO
        Keras's published file, another of its layout (``.h5``, weights or a whole model), or one of Keras 3
        (``.weights.h5``, ``.keras``). What follows the backbone, a top for instance, is left out.

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
        with h5py.File(file) as whole:
            found = _of_keras_3(whole["layers"]) if "layers" in whole else _of_older_keras(whole)
            return [np.asarray(array[()], dtype=np.float32) for array in islice(found, ARRAYS)]
    except FileNotFoundError:
        raise UsageError(f"weights file {name} does not exist") from None
    except Exception as error:  # noqa: BLE001 (on a corrupt file, HDF5 raises most of the types there are)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"{name} is not a file of Keras weights ({reason}): "
            "save one with Keras's model.save_weights('mobilenet_v2.weights.h5')"
        ) from None


def _of_older_keras(whole: Any) -> Iterator[Any]:
    """Yield the arrays of a file that lists its layers, and for each layer its weights."""
    group = whole.get("model_weights", whole)
    for layer in (group[_text(name)] for name in group.attrs["layer_names"]):
        yield from (layer[_text(name)] for name in layer.attrs["weight_names"])


def _of_keras_3(layers: Any) -> Iterator[Any]:
    """Yield the arrays of a file that numbers the layers of each class, and within a layer its variables."""
    seen: Counter[str] = Counter()
    for kind in LAYERS:
        name = f"{kind}_{seen[kind]}" if seen[kind] else kind
        seen[kind] += 1
        yield from (layers[f"{name}/vars/{n}"] for n in range(4 if kind == "batch_normalization" else 1))


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
