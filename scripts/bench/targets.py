"""The benchmark's measures: the letter, the name and the target of each, and the verdict on its figures."""

from typing import Any, Final

from scripts.bench.figures import Measurement, Target

# ``--only`` takes the letters; the table of figures and ``--help`` print letter and name.
MEASURES: Final[dict[str, tuple[str, Target | None]]] = {
    "a": ("ceiling: plain processes, no Spark", None),
    "b": ("featurization / ceiling", Target("ratio", ">=", 0.90)),
    "c": ("whole run / textbook notebook", Target("ratio", ">=", 10)),
    "d": ("PCA fit / pyspark.ml PCA.fit", Target("ratio", ">=", 10)),
    "e": ("peak memory of a Python worker", Target("ours", "<=", 200)),
    "f": ("marginal cost, last / first photos", Target("ratio", "within", 0.10)),
    "g": ("start to first photo", Target("ours", "<=", 8)),
    "h": ("S3 with 30 ms to first byte / without", Target("ratio", ">=", 0.90)),
    "i": ("increment onto many known / onto none", Target("ratio", "<=", 1.15)),
    "j": ("second run, nothing new", Target("ours", "<=", 10)),
    "k": ("comparison with what is known", Target("ours", "<=", 60)),
    "l": ("comparison, ten times as many", Target("ours", "<=", 120)),
    "m": ("opening a table of many commits", Target("ours", "<=", 2)),
    "n": ("classifier: right labels on Test", Target("ours", ">=", 95)),
    "o": ("the driver of ten million new photos", Target("ours", "<=", 2000)),
}


def measurement(
    letter: str,
    unit: str,
    *,
    ours: float | None = None,
    other: float | None = None,
    ratio: float | None = None,
    detail: str,
    correct: bool = True,
    failed: bool = False,
    figures: dict[str, Any] | None = None,
) -> Measurement:
    """Return a measure's figures with its target, which figures of incorrect work miss.

    Parameters
    ----------
    correct : bool
        Whether both sides did the work that the measure compares.
    failed : bool
        Whether the measure broke down.
    figures : dict, optional
        Further figures, for the JSON alone.
    """
    name, target = MEASURES[letter]
    met = target.met(ours, ratio) if target else None
    goal = str(target) if target else None
    return Measurement(
        letter, name, ours, other, ratio, goal, met and correct, unit, detail, failed, figures or {}
    )
