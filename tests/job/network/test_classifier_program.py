"""The exported program: a process with the runtime alone gets from one file what NumPy computes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from job.network import classifier_program, litert
from job.photos.decode import decode
from tests.support import litert_app
from tests.support.keras_network import some

DESCRIPTION: Final = {"labels": ["Pomme é", "a\nb"], "confidence": 0.9}


@pytest.fixture(scope="module")
def photos(sample: Path) -> NDArray[np.uint8]:
    """Return the pixels of 500 photos and a picture of noise."""
    noise = np.random.default_rng(7).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    return np.concatenate([np.stack([decode(file.read_bytes()).pixels for file in some(sample, 500)]), noise])


@pytest.fixture(scope="module")
def roots(program: bytes, photos: NDArray[np.uint8]) -> NDArray[np.float64]:
    run = litert.build(program)
    features = np.stack([run(photo)[0] for photo in photos]).astype(np.float64)
    shares: NDArray[np.float64] = features / features.sum(axis=1, keepdims=True)
    return np.sqrt(shares)


Arrays = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def arrays(roots: NDArray[np.float64]) -> Arrays:
    """Return a function that makes up a discriminant between some of the photos, which are hard to tell."""

    def make(labels: int, width: int) -> dict[str, Any]:
        generator = np.random.default_rng(labels)
        mean = roots.mean(axis=0)
        axes = generator.normal(size=(width, roots.shape[1]))
        axes *= 3 / ((roots - mean) @ axes.T).std(axis=0)[:, np.newaxis]
        coordinates = (roots - mean) @ axes.T
        centroids = coordinates[generator.choice(len(roots) - 1, labels, replace=False)]
        spread = coordinates.var(axis=0)
        return {
            "mean": mean,
            "axes": axes,
            "centroids": centroids,
            "spread": spread,
            "temperature": float(width),
        }

    return make


def expected_answers(
    roots: NDArray[np.float64], model: dict[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return probabilities and relative distances as NumPy computes them, in float64."""
    z = (roots - model["mean"]) @ model["axes"].T
    squares = ((z[:, np.newaxis] - model["centroids"]) ** 2).sum(axis=2)
    weights = np.exp((squares.min(axis=1, keepdims=True) - squares) / (2 * model["temperature"]))
    distance = squares.min(axis=1) - (z**2 / model["spread"]).sum(axis=1)
    return weights / weights.sum(axis=1, keepdims=True), distance


@pytest.mark.parametrize(("labels", "width"), [(131, 130), (2, 1)])
def test_a_process_with_the_runtime_alone_gets_the_same_answers(
    program: bytes, photos: NDArray[np.uint8], roots: NDArray[np.float64], arrays: Arrays,
    labels: int, width: int, tmp_path: Path,
) -> None:  # fmt: skip
    model = arrays(labels, width)
    exported = classifier_program.append(program, **model, description=DESCRIPTION)
    answers, description = litert_app.answers(exported, photos, tmp_path)
    assert description == DESCRIPTION
    assert answers["probabilities"].shape == (len(photos), labels)
    assert answers["distance"].shape == (len(photos), 1)
    assert answers["squared_distances"].shape == (len(photos), labels)
    probabilities, distance = expected_answers(roots, model)
    assert 0.1 < np.median(probabilities.max(axis=1)) < 0.99, "a sensitive test"
    error = np.abs(answers["probabilities"] - probabilities).max()
    relative = np.abs(answers["distance"][:, 0] - distance) / np.maximum(np.abs(distance), 1)
    print(f"{len(photos)} photos, {labels} labels: probabilities {error:.1e}, distance {relative.max():.1e}")
    assert error < 1e-5
    assert relative.max() < 1e-4


def test_load_gives_the_distances(
    program: bytes, photos: NDArray[np.uint8], roots: NDArray[np.float64], arrays: Arrays
) -> None:
    model = arrays(5, 4)
    exported = classifier_program.append(program, **model, description=DESCRIPTION)
    distances = classifier_program.load(exported)
    expected = expected_answers(roots, model)
    for photo, probabilities, distance in zip(photos[:20], *expected, strict=False):
        squares, relative = distances(photo)
        weights = np.exp((squares.min() - squares) / (2 * model["temperature"]))
        np.testing.assert_allclose(weights / weights.sum(), probabilities, atol=1e-5)
        assert relative == pytest.approx(distance, rel=1e-4, abs=1e-4)


def test_the_same_classifier_has_the_same_bytes_and_is_made_within_a_second(
    program: bytes, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = arrays(131, 130)
    started = time.process_time()
    exported = classifier_program.append(program, **model, description=DESCRIPTION)
    assert time.process_time() - started < 1
    assert len(exported) < 9.7e6
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert classifier_program.append(program, **model, description=DESCRIPTION) == exported


def test_each_array_lies_at_a_multiple_of_16_bytes(program: bytes, arrays: Arrays) -> None:
    exported = classifier_program.append(program, **arrays(3, 2), description=DESCRIPTION)
    start = np.frombuffer(exported, np.uint8).ctypes.data
    model = schema.Model.GetRootAs(exported)
    buffers = [model.Buffers(number) for number in range(model.BuffersLength())]
    contents = [buffer.DataAsNumpy() for buffer in buffers if not buffer.DataIsNone()]
    assert len(contents) > 100
    assert {(content.ctypes.data - start) % 16 for content in contents} == {0}


def test_a_damaged_program_or_one_without_a_classifier_is_refused(program: bytes, arrays: Arrays) -> None:
    exported = classifier_program.append(program, **arrays(3, 2), description=DESCRIPTION)
    described = classifier_program._with_description(program, DESCRIPTION)
    headless = classifier_program._with_description(b"no program", DESCRIPTION)
    for damaged in (b"", program, exported[:-100_000], described, headless):
        with pytest.raises(ValueError, match=r"\w"):
            classifier_program.load(damaged)
