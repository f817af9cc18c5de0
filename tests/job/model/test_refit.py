"""Yesterday's model: what it keeps of today's variance, and when it stays."""

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
    """Return rows about a plane of three directions, which `turned` turns away."""
    fixed = np.random.default_rng(5)
    plane, other = fixed.normal(size=(2, 3, WIDTH))
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(rows, WIDTH)) * 0.3
    found: NDArray[np.float64] = generator.normal(size=(rows, 3)) @ (plane + turned * other) + noise + 4
    return found


def moments_of(rows: NDArray[np.float64]) -> Moments:
    return accumulate([rows], WIDTH)


def asked(output: Path, **options: Any) -> Settings:
    settings = parse_settings(["--input", "-", "--output", str(output), "--components", "3"], {})
    return replace(settings, **options)


def saved(output: Path) -> str:
    """Fit a model to the first rows, save it as a run does, and return its id."""
    model = choose(output, "", moments_of(photos(300, 1))).pca
    saved_model.save(model, f"{output}/models/{model.model_id}", refit.model_settings(asked(output)))
    return model.model_id


def choose(output: Path, model_id: str, moments: Moments, **options: Any) -> ChosenModel:
    return refit.choose_model(asked(output, **options), model_id, moments)


def kept_directly(model: Pca, rows: NDArray[np.float64]) -> float:
    """Return the share kept, from the rows themselves: they are projected, and taken back."""
    scaled = (rows - model.mean) / model.scale
    back = scaled @ model.components.T @ model.components
    lost = ((scaled - back) ** 2).sum()
    return float(1 - lost / ((scaled - scaled.mean(axis=0)) ** 2).sum())


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("offset", [0.0, 3.0])
@pytest.mark.parametrize("rows", [5, 400])
def test_what_a_model_keeps_is_what_is_not_lost_when_rows_are_projected_and_taken_back(
    standardize: bool, offset: float, rows: int
) -> None:
    model = pca.fit(moments_of(photos(300, 1)), 3, 1.0, standardize)
    others = photos(rows, 2, turned=0.4) + np.linspace(0, offset, WIDTH)
    found = refit.variance_kept(model, moments_of(others))
    assert found == pytest.approx(kept_directly(model, others), abs=1e-12)
    assert found < model.explained_variance_ratio.sum()


def test_of_the_rows_it_was_fitted_to_a_model_keeps_what_it_explains() -> None:
    moments = moments_of(photos(300, 1))
    model = pca.fit(moments, 4, 1.0, standardize=True)
    assert refit.variance_kept(model, moments) == pytest.approx(
        model.explained_variance_ratio.sum(), abs=1e-12
    )


def test_of_rows_that_do_not_differ_nothing_can_be_lost() -> None:
    model = pca.fit(moments_of(photos(300, 1)), 3, 1.0, standardize=False)
    assert refit.variance_kept(model, moments_of(np.tile(model.mean, (9, 1)))) == 1.0


def test_without_a_model_one_is_fitted(tmp_path: Path) -> None:
    for how in ("auto", "always", "never"):
        found = choose(tmp_path, "", moments_of(photos(300, 1)), refit=how)
        assert found.is_new
        assert found.pca.k == 3
        assert found.variance_kept == pytest.approx(found.pca.explained_variance_ratio.sum())


def test_a_model_stays_while_it_keeps_the_variance_and_is_the_one_that_was_saved(tmp_path: Path) -> None:
    model_id = saved(tmp_path)
    rows = np.vstack([photos(300, 1), photos(30, 2)])
    found = choose(tmp_path, model_id, moments_of(rows))
    assert not found.is_new
    assert (found.pca.model_id, found.pca.n) == (model_id, 300)
    assert found.variance_kept == pytest.approx(kept_directly(found.pca, rows), abs=1e-12)
    fitted = pca.fit(moments_of(photos(300, 1)), 3, 0.95, standardize=False)
    np.testing.assert_array_equal(found.pca.project(rows), fitted.project(rows))


def test_a_model_goes_when_more_is_lost_than_is_allowed(tmp_path: Path) -> None:
    model_id = saved(tmp_path)
    rows = np.vstack([photos(300, 1), photos(300, 2, turned=0.5)])
    kept = choose(tmp_path, model_id, moments_of(rows), refit="never")
    then = float(kept.pca.explained_variance_ratio.sum())
    lost = then - kept.variance_kept
    assert lost > 0.01
    new = choose(tmp_path, model_id, moments_of(rows), max_variance_loss=lost - 1e-9)
    assert new.is_new
    assert new.pca.model_id != model_id
    assert new.variance_kept == pytest.approx(kept_directly(new.pca, rows), abs=1e-12)
    assert new.variance_kept > kept.variance_kept
    stays = choose(tmp_path, model_id, moments_of(rows), max_variance_loss=lost + 1e-9)
    assert stays.pca.model_id == model_id
    assert not kept.is_new, "never means never"


def test_always_fits_anew_and_the_same_rows_give_the_same_model(tmp_path: Path) -> None:
    model_id = saved(tmp_path)
    again = choose(tmp_path, model_id, moments_of(photos(300, 1)), refit="always")
    assert (again.pca.model_id, again.is_new) == (model_id, False), "nothing is to be written again"
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
def test_a_model_of_something_else_than_is_wanted_goes_or_is_refused(
    tmp_path: Path, options: dict[str, Any], differs: str
) -> None:
    model_id = saved(tmp_path)
    assert choose(tmp_path, model_id, moments_of(photos(300, 1)), **options).is_new
    with pytest.raises(UsageError) as caught:  # before anything is computed
        refit.check_settings(asked(tmp_path, **options, refit="never"), model_id)
    assert str(caught.value).startswith(f"--refit never keeps model {model_id}, which has another {differs}:")
    assert "\n" not in str(caught.value)
    (tmp_path / "models" / model_id / "pca.npz").write_bytes(b"torn")
    with pytest.raises(UsageError):
        refit.check_settings(asked(tmp_path, **options, refit="never"), model_id)
    refit.check_settings(asked(tmp_path, **options), model_id)
    refit.check_settings(asked(tmp_path, refit="never"), model_id)
    refit.check_settings(asked(tmp_path, **options, refit="never"), "")


@pytest.mark.parametrize("how", ["nothing there", "no figures", "another model's arrays"])
def test_a_model_that_is_not_whole_or_not_itself_is_fitted_anew(tmp_path: Path, how: str) -> None:
    model_id = saved(tmp_path)
    folder = tmp_path / "models" / model_id
    if how == "nothing there":
        folder.rename(tmp_path / "models/elsewhere")
    elif how == "no figures":
        (folder / "model.json").unlink()
    else:
        other = pca.fit(moments_of(photos(300, 9)), 3, 0.95, standardize=False)
        (folder / "pca.npz").write_bytes(saved_model.npz_bytes(other))
    found = choose(tmp_path, model_id, moments_of(photos(300, 1)))
    assert (found.pca.model_id, found.is_new) == (model_id, True)
