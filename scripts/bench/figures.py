"""The benchmark's figures and targets, printed as a table and written as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

PACKAGES = (
    *("pyspark", "ai-edge-litert", "keras", "numpy", "pillow", "pyarrow", "simplejpeg", "pandas"),
    *("deltalake", "duckdb", "obstore"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """The value that a figure must reach.

    Attributes
    ----------
    figure : {"ratio", "ours"}
        The figure of a measurement that is judged.
    relation : {">=", "<=", "within"}
        ``within`` allows a ratio to differ from 1 by `value`.
    value : float
    """

    figure: Literal["ratio", "ours"]
    relation: Literal[">=", "<=", "within"]
    value: float

    def met(self, ours: float | None, ratio: float | None) -> bool | None:
        """Return whether the target is met; None if its figure was not measured."""
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
    """The figures of one measure, and whether they meet its target.

    Attributes
    ----------
    letter, name : str
    ours, other : float or None
        The job's figure and the one that it is compared with, in `unit`; None if not measured.
    ratio : float or None
        For speed, how many times as fast as the other ours is; for growth, the large run over the small one.
    target : str or None
    met : bool or None
        None if there is no target, or nothing was measured.
    unit, detail : str
        `detail` holds the sizes and each run's figures, or the reason for a missing figure.
    figures : dict
        Further figures, for the JSON alone.
    failed : bool
        Whether the measure broke down; `met` is then None.
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
    figures: dict[str, Any] = field(default_factory=dict)


def seconds_text(runs: Sequence[float]) -> str:
    """Return the seconds of several runs as text."""
    return ", ".join(f"{seconds:.1f}" for seconds in runs)


def table(measurements: Sequence[Measurement]) -> str:
    """Return the measurements as a text table; each row is followed by its details."""
    header = ("", "measure", "ours", "other", "unit", "ratio", "target", "met")
    rows = [header, *(_cells(measurement) for measurement in measurements)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if column in (2, 3, 5) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
        if number and measurements[number - 1].detail:
            lines += [f"   {line}" for line in measurements[number - 1].detail.splitlines()]
    return "\n".join(lines)


def machine(cores: int) -> dict[str, Any]:
    """Return the facts that the figures depend on: processor, cores, load, versions."""
    return {
        "cpu": _cpu(),
        "cores_used": cores,
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES} | {"tensorflow": _tensorflow()},
    }


def write(file: Path, facts: dict[str, Any], measurements: Sequence[Measurement]) -> None:
    """Write `facts`, the date and the measurements as JSON."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    report = {"date": date, **facts, "measurements": [asdict(measurement) for measurement in measurements]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _cells(measurement: Measurement) -> tuple[str, ...]:
    if measurement.failed:
        met = "failed"
    elif measurement.met is None:
        met = "-" if measurement.target is None else "not measured"
    else:
        met = "yes" if measurement.met else "NO"
    ratio = "-" if measurement.ratio is None else f"{measurement.ratio:.2f}"
    return (
        measurement.letter,
        measurement.name,
        _number(measurement.ours),
        _number(measurement.other),
        measurement.unit,
        ratio,
        measurement.target or "-",
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
