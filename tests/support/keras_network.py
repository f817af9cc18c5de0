"""The real weights, and Keras's network with them; both are made once a session."""

from functools import cache
from pathlib import Path
from typing import Any

from job.network import backbone, weights
from job.network.keras_files import Weights
from job.network.quiet_stderr import quiet_stderr
from tests.support.spark_session import CACHE


@cache
def real_weights() -> Weights:
    """Return the verified weights; the first session downloads them."""
    return weights.load(None, CACHE)[0]


@cache
def keras_network() -> Any:
    """Return Keras's MobileNetV2, built without the job's code, with the real weights."""
    with quiet_stderr():
        tf = backbone._tensorflow()
        model = tf.keras.applications.MobileNetV2(
            weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3)
        )
        model.set_weights(real_weights())
    return model


def some(sample: Path, number: int) -> list[Path]:
    """Return `number` photos of a sample, evenly chosen; all of them if there are fewer."""
    files = sorted(sample.rglob("*.jpg"))
    return files[:: max(len(files) // number, 1)][:number]
