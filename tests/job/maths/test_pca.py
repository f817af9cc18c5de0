"""PCA from moments: equal to NumPy's eigenvectors, with the choice of k and its errors."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray

from job.errors import DataError, UsageError
from job.maths import pca
from job.maths.moments import accumulate
from job.maths.pca import Pca
from job.model import saved_model

WIDTH = 40


def features(rows: int = 600, seed: int = 0) -> NDArray[np.float64]:
    """Return rows of independent directions with well-separated variances, and an offset."""
    generator = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(generator.normal(size=(WIDTH, WIDTH)))
    rotated: NDArray[np.float64] = generator.normal(size=(rows, WIDTH)) * 0.8 ** np.arange(WIDTH) @ directions
    return rotated + generator.normal(size=WIDTH)


def fit(
    rows: NDArray[np.float64], components: int | None = None, variance: float = 0.95, **options: bool
) -> Pca:
    standardize = options.get("standardize", False)
    return pca.fit(accumulate(np.array_split(rows, 7), rows.shape[1]), components, variance, standardize)


def assert_equals_numpy(model: Pca, rows: NDArray[np.float64]) -> None:
    """Compare with eigh of the two-pass covariance: variances to 1e-9, directions where separated."""
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))
    values, vectors = values[::-1], vectors[:, ::-1]
    np.testing.assert_allclose(model.explained_variance, values[: model.k], rtol=1e-9)
    np.testing.assert_allclose(model.explained_variance_ratio, values[: model.k] / values.sum(), rtol=1e-9)
    cosines = np.abs(np.sum(model.components * vectors[:, : model.k].T, axis=1))
    gaps = np.minimum(np.diff(values, prepend=np.inf) * -1, -np.diff(values, append=-np.inf))[: model.k]
    separated = gaps > 1e-6 * values[0]
    assert separated.sum() > model.k // 2
    assert cosines[separated].min() >= 1 - 1e-12


@pytest.mark.parametrize("shift", [0, 1e6])
def test_pca_equals_numpys_eigh_of_the_covariance(shift: float) -> None:
    rows = np.round(features() * 2**20) / 2**20 + shift
    assert_equals_numpy(fit(rows, components=20), rows)


def test_pca_equals_numpy_with_constant_columns() -> None:
    rows = features()
    rows[:, [3, 17]] = [0.0, 1e6 + 1 / 3]
    model = fit(rows, components=20)
    assert_equals_numpy(model, rows)
    assert model.rank == WIDTH - 2


def test_standardized_pca_is_that_of_the_correlations_with_zero_loadings_of_constant_columns() -> None:
    rows = features()
    rows[:, 5] = 1e6 + 1 / 3
    model = fit(rows, components=10, standardize=True)
    varying = np.delete(rows, 5, axis=1)
    values = np.linalg.eigvalsh(np.corrcoef(varying, rowvar=False))[::-1]
    np.testing.assert_allclose(model.explained_variance, values[:10], rtol=1e-9)
    assert model.scale[5] == 1.0
    assert np.abs(model.components[:, 5]).max() < 1e-12
    assert np.isfinite(model.project(rows)).all()


def test_components_are_orthonormal_and_their_largest_loading_is_positive() -> None:
    model = fit(features(), components=WIDTH)
    np.testing.assert_allclose(model.components @ model.components.T, np.eye(WIDTH), atol=1e-12)
    largest = np.abs(model.components).argmax(axis=1)
    assert (model.components[np.arange(WIDTH), largest] > 0).all()


def test_projections_are_centred_and_have_the_explained_variance() -> None:
    rows = features()
    model = fit(rows, components=5)
    reduced = model.project(rows)
    assert reduced.dtype == np.float32
    np.testing.assert_allclose(reduced.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(reduced.var(axis=0, ddof=1), model.explained_variance, rtol=1e-5)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.95, 0.999])
def test_the_fewest_components_that_explain_the_variance_are_kept(share: float) -> None:
    model = fit(features(), variance=share)
    cumulated = np.cumsum(model.explained_variance_ratio)
    assert cumulated[-1] >= share
    assert model.k == 1 or cumulated[-2] < share


def test_the_whole_variance_needs_as_many_components_as_the_rank() -> None:
    assert fit(features(), variance=1.0).k == WIDTH
    assert fit(features(rows=11), variance=1.0).k == 10


def test_more_components_than_the_rank_is_an_error_that_names_the_rank() -> None:
    rows = features()
    rows[:, 1] = rows[:, 0] * 2 - rows[:, 2]
    assert fit(rows, components=WIDTH - 1).k == WIDTH - 1
    with pytest.raises(UsageError, match=f"rank of the features, which is {WIDTH - 1}$"):
        fit(rows, components=WIDTH)


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_rows_cannot_be_fitted(rows: int) -> None:
    with pytest.raises(DataError, match="at least 2"):
        pca.fit(accumulate([features(rows=rows)], WIDTH), None, 0.95, False)


def test_equal_rows_cannot_be_fitted() -> None:
    with pytest.raises(DataError, match="do not differ"):
        fit(np.tile(features(rows=1), (9, 1)))


def test_equal_fits_share_a_model_id_and_other_fits_do_not() -> None:
    rows = features()
    assert fit(rows).model_id == fit(rows).model_id
    assert fit(rows).model_id != fit(rows[:-1]).model_id
    assert fit(rows).model_id != fit(rows, standardize=True).model_id


def test_the_npz_file_projects_with_numpy_alone() -> None:
    rows = features()
    model = fit(rows, components=6, standardize=True)
    with np.load(io.BytesIO(saved_model.npz_bytes(model))) as arrays:
        assert arrays["n"] == len(rows)
        reduced = (rows - arrays["mean"]) / arrays["scale"] @ arrays["components"].T
        np.testing.assert_allclose(reduced, model.project(rows), atol=1e-5)
        np.testing.assert_array_equal(arrays["explained_variance"], model.explained_variance)
        np.testing.assert_array_equal(arrays["explained_variance_ratio"], model.explained_variance_ratio)
