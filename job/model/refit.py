"""Keeps the current model or fits a new one, depending on the variance that it keeps of today's photos."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from job.cli.settings import Settings
from job.errors import DataError, UsageError
from job.maths import pca
from job.maths.grouped_moments import TableMoments
from job.maths.moments import Moments
from job.maths.pca import Pca
from job.model import saved_model
from job.model.classifier import TRAINING
from job.network import backbone


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """A model, the share of the current rows' variance that it keeps, and whether it was fitted now."""

    pca: Pca
    variance_kept: float
    is_new: bool


def model_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that make a model, as ``model.json`` has them: network, components, scaling."""
    options = {name: getattr(settings, name) for name in ("components", "variance", "standardize", "fit_on")}
    return {"backbone": backbone.name(settings.engine), "wanted": options}


def fitted_moments(settings: Settings, moments: TableMoments) -> Moments:
    """Return the moments of the photos to which the PCA is fitted: all, or those of Training.

    Raises
    ------
    DataError
        If Training is asked for, and there is no photo of it.
    """
    if settings.fit_on == "all":
        return moments.features.total
    if TRAINING not in moments.features.splits:
        raise DataError(f"--fit-on training: no photo is in a folder {TRAINING}; use --fit-on all")
    return moments.features.of([TRAINING])


def check_settings(settings: Settings, model_id: str) -> None:
    """Refuse ``--refit never`` if the current model has other settings, before anything is computed.

    Raises
    ------
    UsageError
        With the settings that differ.
    """
    if not model_id or settings.refit != "never":
        return
    record = saved_model.load_record(settings.output, model_id)
    if record is not None and (differences := _differences(record, settings)):
        raise UsageError(
            f"--refit never keeps model {model_id}, which has another {' and '.join(differences)}: "
            "ask for what it was made for, or use --refit auto"
        )


def choose_model(settings: Settings, model_id: str, moments: Moments) -> ChosenModel:
    """Return the current model, named by `model_id` (``""``: none), or one fitted to `moments` of all rows.

    A current model with other settings is replaced. ``--refit auto`` also replaces one that keeps less of the
    variance than when it was fitted, by more than ``--max-variance-loss``; ``always`` replaces it in any
    case.

    Raises
    ------
    UsageError, DataError
        From :func:`pca.fit`.
    """
    current = saved_model.load(settings.output, model_id) if model_id else None
    is_valid = current is not None and not _differences(current[1], settings)
    if current is not None and is_valid and settings.refit != "always":
        model = current[0]
        kept = variance_kept(model, moments)
        minimum = float(model.explained_variance_ratio.sum()) - settings.max_variance_loss
        if settings.refit == "never" or kept >= minimum:
            return ChosenModel(model, kept, False)
    model = pca.fit(moments, settings.components, settings.variance, settings.standardize)
    is_new = not is_valid or model.model_id != model_id
    return ChosenModel(model, float(model.explained_variance_ratio.sum()), is_new)


def model_record(chosen: ChosenModel, projected: int, fit_on: str) -> dict[str, Any]:
    """Return the model's part of a run's record.

    `projected` is the number of rows projected in this run, `fit_on` the setting ``--fit-on``.
    """
    return {
        "model_id": chosen.pca.model_id,
        "components": chosen.pca.k,
        "fitted_on": fit_on,
        "variance_kept": chosen.variance_kept,
        "variance_kept_when_fitted": float(chosen.pca.explained_variance_ratio.sum()),
        "rank": chosen.pca.rank,
        "fitted_now": chosen.is_new,
        "rows_projected": projected,
    }


def variance_kept(model: Pca, moments: Moments) -> float:
    """Return the share of the rows' variance that a model keeps, even one fitted to other rows.

    It is one minus the reconstruction error, ``tr((I - P)(C + δδᵀ)) / tr(C)``: P projects on the components,
    C is the rows' covariance with divisor n, and δ the difference of the rows' mean from the model's.
    """
    covariance = moments.scatter / max(moments.n, 1) / np.outer(model.scale, model.scale)
    delta = (moments.mean - model.mean) / model.scale
    projected_delta = model.components @ delta
    kept = np.einsum("ij,jk,ik->", model.components, covariance, model.components, optimize=True)
    total = covariance.trace()
    return float((kept - (delta @ delta - projected_delta @ projected_delta)) / total) if total > 0 else 1.0


def _differences(record: Mapping[str, Any], settings: Settings) -> list[str]:
    """Return the settings in which the saved model with this ``model.json`` differs."""
    expected, options = model_settings(settings), {"fit_on": "all", **record.get("wanted", {})}
    names = [name for name, value in expected["wanted"].items() if value != options.get(name)]
    return [*names, "backbone"] if record.get("backbone") != expected["backbone"] else names
