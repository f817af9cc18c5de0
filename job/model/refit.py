"""Whether yesterday's model still serves: what its components keep of today's variance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from job.cli.settings import Settings
from job.errors import UsageError
from job.maths import pca
from job.maths.moments import Moments
from job.maths.pca import Pca
from job.model import saved_model
from job.network import backbone


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model, the share of the variance of the rows of now that it keeps, and whether it was fitted now."""

    pca: Pca
    kept_now: float
    is_new: bool


def facts(settings: Settings) -> dict[str, Any]:
    """Return what is asked of a model, as ``model.json`` says it: network, components, scaling."""
    wanted = {name: getattr(settings, name) for name in ("components", "variance", "standardize")}
    return {"backbone": backbone.name(settings.engine), "wanted": wanted}


def check(settings: Settings, model_id: str) -> None:
    """Refuse ``--refit never`` for a model that is not of what is wanted, before anything is computed.

    Raises
    ------
    UsageError
        That names what differs.
    """
    current = saved_model.load(settings.output, model_id) if model_id and settings.refit == "never" else None
    if current is not None and (differs := _differences(current[1], settings)):
        raise UsageError(
            f"--refit never keeps model {model_id}, which has another {' and '.join(differs)}: "
            "ask for what it was made for, or use --refit auto"
        )


def choose(settings: Settings, model_id: str, moments: Moments) -> Fitted:
    """Keep the current model, or fit one.

    ``--refit auto`` keeps the model as long as it is of what is wanted, and keeps no less of the variance
    than when it was fitted, but for ``--max-variance-loss``; ``never`` as long as :func:`check` lets it.

    Parameters
    ----------
    settings : Settings
    model_id : str
        The current model's, ``""`` if there is none.
    moments : Moments
        Of all rows of now.

    Raises
    ------
    UsageError, DataError
        As :func:`pca.fit` does.
    """
    current = saved_model.load(settings.output, model_id) if model_id and settings.refit != "always" else None
    if current is not None:
        model, said = current
        kept = kept_by(model, moments)
        least = float(model.explained_variance_ratio.sum()) - settings.max_variance_loss
        if not _differences(said, settings) and (settings.refit == "never" or kept >= least):
            return Fitted(model, kept, False)
    model = pca.fit(moments, settings.components, settings.variance, settings.standardize)
    return Fitted(model, float(model.explained_variance_ratio.sum()), True)


def told(fitted: Fitted, projected: int) -> dict[str, Any]:
    """Return what a run's record says of its model; `projected` rows of the matrix are of this run."""
    return {
        "model_id": fitted.pca.model_id,
        "components": fitted.pca.k,
        "variance_kept": fitted.kept_now,
        "variance_kept_when_fitted": float(fitted.pca.explained_variance_ratio.sum()),
        "rank": fitted.pca.rank,
        "fitted_now": fitted.is_new,
        "rows_projected": projected,
    }


def kept_by(model: Pca, moments: Moments) -> float:
    """Return the share of the rows' variance that a model keeps, which may be of other rows.

    It is one minus what is lost when rows are projected and taken back, ``tr((I - P)(C + δδᵀ)) / tr(C)``: P
    projects on the components, C is the rows' covariance about their mean, with divisor n, δ that mean's
    distance from the model's.
    """
    covariance = moments.scatter / max(moments.n, 1) / np.outer(model.scale, model.scale)
    delta = (moments.mean - model.mean) / model.scale
    along = model.components @ delta
    kept = np.einsum("ij,jk,ik->", model.components, covariance, model.components, optimize=True)
    total = covariance.trace()
    return float((kept - (delta @ delta - along @ along)) / total) if total > 0 else 1.0


def _differences(said: Mapping[str, Any], settings: Settings) -> list[str]:
    """Return the settings in which a saved model, of which ``model.json`` says this, differs."""
    asked, had = facts(settings), said.get("wanted", {})
    differs = [name for name, value in asked["wanted"].items() if value != had.get(name)]
    return [*differs, "backbone"] if said.get("backbone") != asked["backbone"] else differs
