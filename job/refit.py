"""Whether yesterday's model still serves: what its components keep of today's variance."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from job import models, pca, store
from job.errors import UsageError
from job.moments import Moments
from job.pca import Pca
from job.table import layout


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a model: the number of components or the variance they keep, and the scaling."""

    components: int | None
    variance: float
    standardize: bool


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model, the share of the variance of the rows of now that it keeps, and whether it was fitted now."""

    pca: Pca
    kept_now: float
    is_new: bool


def check(output: str, model_id: str, wanted: Wanted, backbone: str, refit: str) -> None:
    """Refuse ``never`` for a model that is not of what is wanted, before anything is computed.

    Raises
    ------
    UsageError
        That names what differs.
    """
    if refit != "never" or not model_id:
        return
    try:
        said = json.loads(store.read_bytes(store.join(output, layout.MODELS, model_id, "model.json")))
    except (FileNotFoundError, ValueError):
        return
    if differs := _differences(said, wanted, backbone):
        raise UsageError(
            f"--refit never keeps model {model_id}, which has another {' and '.join(differs)}: "
            "ask for what it was made for, or use --refit auto"
        )


def choose(
    output: str, model_id: str, moments: Moments, wanted: Wanted, backbone: str, refit: str, loss: float
) -> Fitted:
    """Keep the current model, or fit one.

    Parameters
    ----------
    output : str
        Where ``models/`` is.
    model_id : str
        The current model's, ``""`` if there is none.
    moments : Moments
        Of all rows of now.
    wanted : Wanted
    backbone : str
        The network that made the rows.
    refit : {"auto", "always", "never"}
        ``auto`` keeps the model as long as it is of what is wanted, and keeps no less of the variance than
        when it was fitted, but for `loss`; ``never`` as long as :func:`check` does.
    loss : float
        A share of the variance, in [0, 1].

    Raises
    ------
    UsageError, DataError
        As :func:`pca.fit` does.
    """
    current = models.load(output, model_id) if model_id and refit != "always" else None
    if current is not None:
        model, said = current
        kept, then = kept_by(model, moments), float(model.explained_variance_ratio.sum())
        if not _differences(said, wanted, backbone) and (refit == "never" or kept >= then - loss):
            return Fitted(model, kept, False)
    model = pca.fit(moments, wanted.components, wanted.variance, wanted.standardize)
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


def _differences(said: Mapping[str, Any], wanted: Wanted, backbone: str) -> list[str]:
    """Name in what a model is not of what is wanted."""
    had = said.get("wanted", {})
    differs = [name for name, value in asdict(wanted).items() if value != had.get(name)]
    return [*differs, "backbone"] if said.get("backbone") != backbone else differs
