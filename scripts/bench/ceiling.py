"""How fast the machine is without Spark: plain processes that read, decode and infer the same photos.

Each process builds its network, runs one photo through it and waits at a barrier; what is timed begins
there and ends with the last process. Run by ``bench``: ``python -m scripts.bench.ceiling PHOTOS --cache C
--cores N`` prints ``{"photos": …, "seconds": …}``.
"""

import argparse
import contextlib
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

from job.network import backbone
from job.photos.decode import Rejected, decode
from scripts.bench.samples import find

READY_SECONDS = 300.0  # the most that a process waits for the slowest of the others to be ready

_mine: dict[str, Any] = {}  # a process's network and its barrier


def ceiling(photos: Sequence[str], program: backbone.Backbone, cores: int) -> float:
    """Return the seconds that `cores` processes take for all photos, from the barrier to the last one's end.

    Parameters
    ----------
    photos : sequence of str
        Paths; process i takes every `cores`-th, from the i-th on.
    program : Backbone
        Of the engine ``litert``.
    cores : int
        How many processes.
    """
    spawn = multiprocessing.get_context("spawn")
    ready = (program, spawn.Barrier(cores))
    shares = [photos[number::cores] for number in range(cores)]
    with ProcessPoolExecutor(cores, mp_context=spawn, initializer=_ready, initargs=ready) as pool:
        # None of the shares can end before all have begun, so that each has a process of its own.
        spans = list(pool.map(_work, shares))
    return max(end for _, end in spans) - min(start for start, _ in spans)


def _ready(program: backbone.Backbone, barrier: Barrier) -> None:
    _mine["network"] = backbone.network(program.engine, program.key, lambda: program.payload)
    _mine["barrier"] = barrier


def _work(share: Sequence[str]) -> tuple[float, float]:
    """Do one process's share; return its start and end on the clock that all processes have in common."""
    network = _mine["network"]
    if share:
        _one(share[0], network)
    _mine["barrier"].wait(READY_SECONDS)
    start = time.monotonic()
    for photo in share:
        _one(photo, network)
    return start, time.monotonic()


def _one(photo: str, network: backbone.Network) -> None:
    with open(photo, "rb") as file:  # noqa: PTH123 (as the job reads)
        data = file.read()
    with contextlib.suppress(Rejected):  # the job refuses it, too
        network(decode(data).pixels)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure once and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Time the photos without Spark.")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="where the converted network is kept")
    parser.add_argument("--cores", type=int, required=True, help="how many processes")
    given = parser.parse_args(arguments)
    photos = [str(photo) for photo in find(given.photos)]
    seconds = ceiling(photos, backbone.load("litert", None, given.cache), given.cores)
    print(json.dumps({"photos": len(photos), "seconds": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
