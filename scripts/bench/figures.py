"""What a benchmark says: measurements with their targets, as a table for people and as JSON for programs."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

VERSIONS_OF = (
    *("pyspark", "ai-edge-litert", "keras", "numpy", "pillow", "pyarrow", "pandas"),
    *("deltalake", "duckdb", "obstore"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must reach.

    Attributes
    ----------
    figure : {"ratio", "ours"}
        Which of a measurement's figures is meant.
    relation : {">=", "<=", "within"}
        ``within`` allows a ratio to be off 1 by `value` either way.
    value : float
    """

    figure: Literal["ratio", "ours"]
    relation: Literal[">=", "<=", "within"]
    value: float

    def met(self, ours: float | None, ratio: float | None) -> bool | None:
        """Tell whether the target is met; None if its figure was not measured."""
        figure = ratio if self.figure == "ratio" else ours
        if figure is None:
            return None
        if self.relation == "within":
            return abs(figure - 1) <= self.value + 1e-12
        return figure >= self.value if self.relation == ">=" else figure <= self.value

    def __str__(self) -> str:
        if self.relation == "within":
            return f"1 ± {self.value:g}"
        return f"{self.relation} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure of the benchmark, both sides of it, and whether its target is met.

    Attributes
    ----------
    letter, name : str
    ours, other : float or None
        The two sides, in `unit`; None if not measured.
    ratio : float or None
        The larger the better for speed (ours is so many times as fast); growth is large over small.
    target : str or None
    met : bool or None
        None if there is no target, or nothing was measured.
    unit, detail : str
        `detail` holds sizes and single runs, or the reason why there is no figure.
    failed : bool
        The measure broke down: no statement about the target.
    """

    letter: str
    name: str
    ours: float | None
    other: float | None
    ratio: float | None
    target: str | None
    met: bool | None
    unit: str
    detail: str
    failed: bool = False


def measurement(
    letter: str,
    name: str,
    unit: str,
    target: Target | None,
    *,
    ours: float | None = None,
    other: float | None = None,
    ratio: float | None = None,
    detail: str = "",
    holds: bool = True,
) -> Measurement:
    """Judge figures by their target; where `holds` is false, no figure meets it."""
    met = target.met(ours, ratio) if target else None
    met = met and holds
    said = None if target is None else str(target)
    return Measurement(letter, name, ours, other, ratio, said, met, unit, detail)


def failure(letter: str, name: str, target: Target | None, reason: str) -> Measurement:
    """Return the measurement of a measure that broke down."""
    said = None if target is None else str(target)
    return Measurement(letter, name, None, None, None, said, None, "", reason, failed=True)


def table(measurements: Sequence[Measurement]) -> str:
    """Return the measurements as a table of text, each followed by its details."""
    head = ("", "measure", "ours", "other", "unit", "ratio", "target", "met")
    rows = [head, *(_cells(one) for one in measurements)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if column in (2, 3, 5) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
        if number and measurements[number - 1].detail:
            lines.append(f"   {measurements[number - 1].detail}")
    return "\n".join(lines)


def machine(cores: int) -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, load, versions."""
    return {
        "cpu": _cpu(),
        "cores_used": cores,
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in VERSIONS_OF} | {"tensorflow": _tensorflow()},
    }


def write(file: Path, facts: dict[str, Any], measurements: Sequence[Measurement]) -> None:
    """Write a benchmark as JSON: `facts`, the date, and the measurements."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    whole = {"date": date, **facts, "measurements": [asdict(one) for one in measurements]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _cells(one: Measurement) -> tuple[str, ...]:
    if one.failed:
        met = "failed"
    elif one.met is None:
        met = "-" if one.target is None else "not measured"
    else:
        met = "yes" if one.met else "NO"
    ratio = "-" if one.ratio is None else f"{one.ratio:.2f}"
    return (
        one.letter,
        one.name,
        _number(one.ours),
        _number(one.other),
        one.unit,
        ratio,
        one.target or "-",
        met,
    )


def _number(figure: float | None) -> str:
    if figure is None:
        return "-"
    return (
        f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}"
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _tensorflow() -> str | None:
    return _version("tensorflow-cpu") or _version("tensorflow")
