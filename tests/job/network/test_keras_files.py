"""Files of weights: every layout that Keras writes is read, and other files are refused in one sentence."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import pytest

from job.errors import UsageError
from job.network import weights
from job.network.keras_files import read_hdf5
from job.network.quiet_stderr import quiet_stderr
from job.network.weights import FINGERPRINT, fingerprint
from tests.support.keras_network import keras_network, real_weights

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own


def save_legacy(model: Any, file: Path) -> None:
    """Save weights in the legacy layout of the published MobileNetV2 file."""
    from keras.src.legacy.saving import legacy_h5_format  # noqa: PLC0415

    with h5py.File(file, "w") as target:
        legacy_h5_format.save_weights_to_hdf5_group(target, model)


def with_top(model: Any) -> Any:
    import keras  # noqa: PLC0415

    return keras.Model(model.input, keras.layers.Dense(2, name="a_top")(model.output))


LAYOUTS: Final[dict[str, Callable[[Any, Path], object]]] = {
    "older.h5": save_legacy,
    "older_with_top.h5": lambda model, file: save_legacy(with_top(model), file),
    "whole.h5": lambda model, file: model.save(file),
    "three.weights.h5": lambda model, file: model.save_weights(file),
    "three_with_top.weights.h5": lambda model, file: with_top(model).save_weights(file),
    "whole.keras": lambda model, file: model.save(file),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the real weights in each layout, written by Keras."""
    folder = tmp_path_factory.mktemp("weights é #1 %20")
    with quiet_stderr():
        for name, save in LAYOUTS.items():
            save(keras_network(), folder / name)
    return folder


def refusal(file: Path) -> str:
    with pytest.raises(UsageError) as caught:
        weights.load(file, Path())
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(file) in sentence
    return sentence


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_of_keras_is_read(folder: Path, name: str) -> None:
    arrays = read_hdf5(folder / name)
    assert fingerprint(arrays) == FINGERPRINT
    assert all(array.dtype == np.float32 for array in arrays)
    assert [array.shape for array in arrays] == [array.shape for array in real_weights()]


@pytest.mark.parametrize("name", LAYOUTS)
def test_one_flipped_bit_of_one_weight_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    kernel = real_weights()[100].tobytes()[:64]  # the bytes of a weight, not of HDF5's structure
    offset = bytes(data).find(kernel)
    assert offset > 0
    data[offset] ^= 1
    (tmp_path / name).write_bytes(data)
    # A .keras file is an archive with checksums.
    expected = "Bad CRC" if name.endswith(".keras") else "the fingerprint of its 260 arrays is"
    assert expected in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["older.h5", "three.weights.h5", "whole.keras"])
@pytest.mark.parametrize("kept", [0, 1, 8, 2_000, 1_000_000, -1])
def test_a_truncated_file_is_refused(folder: Path, tmp_path: Path, name: str, kept: int) -> None:
    (tmp_path / name).write_bytes((folder / name).read_bytes()[:kept])
    assert "save one with Keras's model.save_weights('mobilenet_v2.weights.h5')" in refusal(tmp_path / name)


def test_other_networks_weights_are_refused(tmp_path: Path) -> None:
    import keras  # noqa: PLC0415

    with quiet_stderr():
        inputs = keras.Input((8,))
        other = keras.Model(inputs, keras.layers.Dense(3)(inputs))
        save_legacy(other, tmp_path / "other.h5")
        other.save_weights(tmp_path / "other.weights.h5")
    assert "the fingerprint of its 2 arrays is" in refusal(tmp_path / "other.h5")
    assert "is not a file of Keras weights" in refusal(tmp_path / "other.weights.h5")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("weights")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.attrs["layer_names"] = ["layer"]
        file.create_group("layer").attrs["weight_names"] = ["inner"]
        file["layer"].create_group("inner")
    with zipfile.ZipFile(tmp_path / "archive.keras", "w") as archive:
        archive.writestr("something else", "")
    for name in ("text.h5", "empty.h5", "group.h5", "archive.keras", "."):
        assert "is not a file of Keras weights" in refusal(tmp_path / name)
    for name in ("missing.h5", "missing/missing.h5"):
        assert refusal(tmp_path / name).endswith("missing.h5 does not exist")
