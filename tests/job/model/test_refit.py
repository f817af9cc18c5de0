"""Refitting: the variance that an older model keeps, and when it is replaced."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from job.cli.settings import Settings, parse_settings
from job.errors import UsageError
from job.maths import pca
from job.maths.moments import Moments, accumulate
from job.maths.pca import Pca
from job.model import refit, saved_model
from job.model.refit import ChosenModel

WIDTH = 16


def photos(rows: int, seed: int, turned: float = 0.0) -> NDArray[np.float64]:
    """Return rows near a plane of three directions; `turned` tilts the plane."""
    fixed = np.random.default_rng(5)
    plane, other = fixed.normal(size=(2, 3, WIDTH))
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(rows, WIDTH)) * 0.3
    features: NDArray[np.float64] = generator.normal(size=(rows, 3)) @ (plane + turned * other) + noise + 4
    return features


def moments_of(rows: NDArray[np.float64]) -> Moments:
    return accumulate([rows], WIDTH)


def settings_of(output: Path, **options: Any) -> Settings:
    defaults = parse_settings(["--input", "-", "--output", str(output), "--components", "3"], {})
    return replace(defaults, **options)


def save_model(output: Path) -> str:
    """Fit a model to the first rows, save it as a run does, and return its id."""
    model = choose(output, "", moments_of(photos(300, 1))).pca
    saved_model.save(model, f"{output}/models/{model.model_id}", refit.model_settings(settings_of(output)))
    return model.model_id


def choose(output: Path, model_id: str, moments: Moments, **options: Any) -> ChosenModel:
    return refit.choose_model(settings_of(output, **options), model_id, moments)


def variance_kept_directly(model: Pca, rows: NDArray[np.float64]) -> float:
    """Return the share of variance kept, by projecting the rows and reconstructing them."""
    scaled = (rows - model.mean) / model.scale
    reconstructed = scaled @ model.components.T @ model.components
    lost = ((scaled - reconstructed) ** 2).sum()
    return float(1 - lost / ((scaled - scaled.mean(axis=0)) ** 2).sum())


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("offset", [0.0, 3.0])
@pytest.mark.parametrize("rows", [5, 400])
def test_the_variance_kept_is_that_of_projected_and_reconstructed_rows(
    standardize: bool, offset: float, rows: int
) -> None:
    model = pca.fit(moments_of(photos(300, 1)), 3, 1.0, standardize)
    rows_of_today = photos(rows, 2, turned=0.4) + np.linspace(0, offset, WIDTH)
    kept = refit.variance_kept(model, moments_of(rows_of_today))
    assert kept == pytest.approx(variance_kept_directly(model, rows_of_today), abs=1e-12)
    assert kept < model.explained_variance_ratio.sum()


def test_a_model_keeps_its_explained_variance_on_the_rows_it_was_fitted_to() -> None:
    moments = moments_of(photos(300, 1))
    model = pca.fit(moments, 4, 1.0, standardize=True)
    assert refit.variance_kept(model, moments) == pytest.approx(
        model.explained_variance_ratio.sum(), abs=1e-12
    )


def test_equal_rows_lose_no_variance() -> None:
    model = pca.fit(moments_of(photos(300, 1)), 3, 1.0, standardize=False)
    assert refit.variance_kept(model, moments_of(np.tile(model.mean, (9, 1)))) == 1.0


def test_a_first_model_is_fitted_whatever_the_refit_option(tmp_path: Path) -> None:
    for refit_option in ("auto", "always", "never"):
        chosen = choose(tmp_path, "", moments_of(photos(300, 1)), refit=refit_option)
        assert chosen.is_new
        assert chosen.pca.k == 3
        assert chosen.variance_kept == pytest.approx(chosen.pca.explained_variance_ratio.sum())


def test_the_saved_model_stays_while_it_keeps_the_variance(tmp_path: Path) -> None:
    model_id = save_model(tmp_path)
    rows = np.vstack([photos(300, 1), photos(30, 2)])
    chosen = choose(tmp_path, model_id, moments_of(rows))
    assert not chosen.is_new
    assert (chosen.pca.model_id, chosen.pca.n) == (model_id, 300)
    assert chosen.variance_kept == pytest.approx(variance_kept_directly(chosen.pca, rows), abs=1e-12)
    fitted = pca.fit(moments_of(photos(300, 1)), 3, 0.95, standardize=False)
    np.testing.assert_array_equal(chosen.pca.project(rows), fitted.project(rows))


def test_a_model_is_replaced_if_it_loses_more_than_is_allowed(tmp_path: Path) -> None:
    model_id = save_model(tmp_path)
    rows = np.vstack([photos(300, 1), photos(300, 2, turned=0.5)])
    kept = choose(tmp_path, model_id, moments_of(rows), refit="never")
    fitted_variance = float(kept.pca.explained_variance_ratio.sum())
    lost = fitted_variance - kept.variance_kept
    assert lost > 0.01
    new = choose(tmp_path, model_id, moments_of(rows), max_variance_loss=lost - 1e-9)
    assert new.is_new
    assert new.pca.model_id != model_id
    assert new.variance_kept == pytest.approx(variance_kept_directly(new.pca, rows), abs=1e-12)
    assert new.variance_kept > kept.variance_kept
    stays = choose(tmp_path, model_id, moments_of(rows), max_variance_loss=lost + 1e-9)
    assert stays.pca.model_id == model_id
    assert not kept.is_new, "never means never"


def test_refit_always_fits_anew_and_the_same_rows_give_the_same_model(tmp_path: Path) -> None:
    model_id = save_model(tmp_path)
    again = choose(tmp_path, model_id, moments_of(photos(300, 1)), refit="always")
    assert (again.pca.model_id, again.is_new) == (model_id, False), "nothing needs to be written"
    assert choose(tmp_path, model_id, moments_of(photos(300, 2)), refit="always").is_new


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        ({"components": 4}, "components"),
        ({"components": None}, "components"),
        ({"variance": 0.5}, "variance"),
        ({"engine": "tensorflow"}, "backbone"),
        ({"standardize": True, "engine": "tensorflow"}, "standardize and backbone"),
    ],
)
def test_a_model_with_other_settings_is_replaced_or_refused(
    tmp_path: Path, options: dict[str, Any], differs: str
) -> None:
    model_id = save_model(tmp_path)
    assert choose(tmp_path, model_id, moments_of(photos(300, 1)), **options).is_new
    with pytest.raises(UsageError) as caught:  # before anything is computed
        refit.check_settings(settings_of(tmp_path, **options, refit="never"), model_id)
    assert str(caught.value).startswith(f"--refit never keeps model {model_id}, which has another {differs}:")
    assert "\n" not in str(caught.value)
    (tmp_path / "models" / model_id / "pca.npz").write_bytes(b"torn")
    with pytest.raises(UsageError):
        refit.check_settings(settings_of(tmp_path, **options, refit="never"), model_id)
    refit.check_settings(settings_of(tmp_path, **options), model_id)
    refit.check_settings(settings_of(tmp_path, refit="never"), model_id)
    refit.check_settings(settings_of(tmp_path, **options, refit="never"), "")


@pytest.mark.parametrize("damage", ["no folder", "no figures", "another model's arrays"])
def test_a_damaged_model_is_fitted_anew(tmp_path: Path, damage: str) -> None:
    model_id = save_model(tmp_path)
    folder = tmp_path / "models" / model_id
    if damage == "no folder":
        folder.rename(tmp_path / "models/elsewhere")
    elif damage == "no figures":
        (folder / "model.json").unlink()
    else:
        other = pca.fit(moments_of(photos(300, 9)), 3, 0.95, standardize=False)
        (folder / "pca.npz").write_bytes(saved_model.npz_bytes(other))
    chosen = choose(tmp_path, model_id, moments_of(photos(300, 1)))
    assert (chosen.pca.model_id, chosen.is_new) == (model_id, True)
