"""Measure (a), the ceiling: how fast plain processes without Spark read, decode and infer the photos.

Each process builds its network, infers one photo and waits at a barrier. The time runs from the barrier to
the end of the last process. ``python -m scripts.bench.ceiling PHOTOS --cache C --cores N`` prints the figures
as JSON.
"""

import argparse
import contextlib
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

from job.network import backbone
from job.photos.decode import Rejected, decode
from scripts.bench.samples import photos_in

BARRIER_SECONDS = 300.0  # a process waits no longer for the others

_process_state: dict[str, Any] = {}  # the network and the barrier of this process


def ceiling(photos: Sequence[str], program: backbone.Backbone, cores: int) -> float:
    """Return the seconds that `cores` processes take for all photos, from the barrier to the end of the last.

    Parameters
    ----------
    photos : sequence of str
        Paths; process i takes every `cores`-th photo, starting with the i-th.
    program : Backbone
        The converted network of the engine ``litert``.
    cores : int
        The number of processes.
    """
    spawn = multiprocessing.get_context("spawn")
    initial_state = (program, spawn.Barrier(cores))
    shares = [photos[number::cores] for number in range(cores)]
    with ProcessPoolExecutor(
        cores, mp_context=spawn, initializer=_initialize, initargs=initial_state
    ) as pool:
        # The barrier keeps each process busy until all have a share, so no process gets two.
        spans = list(pool.map(_featurize_share, shares))
    return max(end for _, end in spans) - min(start for start, _ in spans)


def _initialize(program: backbone.Backbone, barrier: Barrier) -> None:
    _process_state["network"] = backbone.network(program.engine, program.key, lambda: program.payload)
    _process_state["barrier"] = barrier


def _featurize_share(share: Sequence[str]) -> tuple[float, float]:
    """Featurize a share of the photos; return its start and end on the clock of all processes."""
    network = _process_state["network"]
    if share:
        _featurize(share[0], network)
    _process_state["barrier"].wait(BARRIER_SECONDS)
    start = time.monotonic()
    for photo in share:
        _featurize(photo, network)
    return start, time.monotonic()


def _featurize(photo: str, network: backbone.Network) -> None:
    with open(photo, "rb") as file:  # noqa: PTH123 (as the job reads)
        data = file.read()
    with contextlib.suppress(Rejected):  # the job rejects it, too
        network(decode(data).pixels)


def main() -> None:
    """Measure once and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Time the photos without Spark.")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="the folder of the converted network")
    parser.add_argument("--cores", type=int, required=True, help="the number of processes")
    options = parser.parse_args()
    photos = [str(photo) for photo in photos_in(options.photos)]
    seconds = ceiling(photos, backbone.load("litert", None, options.cache), options.cores)
    print(json.dumps({"photos": len(photos), "seconds": seconds}))


if __name__ == "__main__":
    main()
