"""The network's name: everything that a photo's features depend on, told without loading anything.

It stands in each row of ``features``; rows of another name are made again.
"""

import contextlib
from importlib import metadata
from typing import Final

from job.decode import DECODE_VERSION
from job.weights import FINGERPRINT

GRAPH_VERSION: Final = 1  # goes up when ``backbone`` would convert the same weights to another program


def name(engine: str) -> str:
    """Return the name of an engine's network."""
    runtime = "tensorflow" if engine == "tensorflow" else f"litert{_version('ai-edge-litert')}"
    return f"{stem()}-{runtime}-decode{DECODE_VERSION}"


def stem() -> str:
    """Return what tells one converted program from another: weights, converter and graph."""
    return (
        f"mobilenet_v2-{FINGERPRINT[:12]}-tf{_version('tensorflow-cpu', 'tensorflow')}-graph{GRAPH_VERSION}"
    )


def _version(*distributions: str) -> str:
    """Return the version of the first of some packages that is installed, without importing it."""
    for distribution in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return "none"
