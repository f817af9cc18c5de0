"""The benchmark's measures by letter: what each is called, and what its figure must reach."""

from collections.abc import Sequence
from typing import Final

from scripts.bench.figures import Measurement, Target, measurement

NAMES: Final = {
    "a": "ceiling: plain processes, no Spark",
    "b": "featurization / ceiling",
    "c": "whole run / textbook notebook",
    "d": "PCA fit / pyspark.ml PCA.fit",
    "e": "peak memory of a Python worker",
    "f": "marginal cost, last / first photos",
    "g": "start to first photo",
    "h": "S3 with 30 ms to first byte / without",
    "i": "increment onto many known / onto none",
    "j": "second run, nothing new",
    "k": "comparison with what is known",
    "l": "comparison, ten times as many",
    "m": "opening a table of many commits",
}
TARGETS: Final[dict[str, Target | None]] = {
    "a": None,
    "b": Target("ratio", ">=", 0.90),
    "c": Target("ratio", ">=", 10),
    "d": Target("ratio", ">=", 10),
    "e": Target("ours", "<=", 200),
    "f": Target("ratio", "within", 0.10),
    "g": Target("ours", "<=", 8),
    "h": Target("ratio", ">=", 0.90),
    "i": Target("ratio", "<=", 1.15),
    "j": Target("ours", "<=", 10),
    "k": Target("ours", "<=", 60),
    "l": Target("ours", "<=", 120),
    "m": Target("ours", "<=", 2),
}


def measurement_of(
    letter: str,
    unit: str,
    *,
    ours: float | None = None,
    other: float | None = None,
    ratio: float | None = None,
    detail: str,
    holds: bool = True,
) -> Measurement:
    """Judge a measure's figures by its target; where `holds` is false, no figure meets it."""
    return measurement(
        letter,
        NAMES[letter],
        unit,
        TARGETS[letter],
        ours=ours,
        other=other,
        ratio=ratio,
        detail=detail,
        holds=holds,
    )


def listed(seconds: Sequence[float]) -> str:
    """Return seconds as a person reads them."""
    return ", ".join(f"{second:.1f}" for second in seconds)
