"""A folder of photos that grows, and what runs on it leave."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def counts(record: dict[str, Any]) -> tuple[int, ...]:
    """Return listed, unchanged, featurized, rejected and removed; the first is the sum of the next three."""
    found = record["counts"]
    listed, *rest = (found[name] for name in ("listed", "unchanged", "featurized", "rejected", "removed"))
    assert listed == sum(rest[:3])
    return listed, *rest


def table(output: Path, name: str) -> pd.DataFrame:
    """Read a table, in which each photo is once, by path."""
    frame = pd.read_parquet(output / name).set_index("path").sort_index()
    assert frame.index.is_unique
    return frame


def vectors(frame: pd.DataFrame) -> NDArray[np.float32]:
    return np.vstack(list(frame["features"]))
