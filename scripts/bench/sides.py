"""The sides that the benchmark compares: the job itself, and the scripts beside it, at given sizes."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from scripts.bench import samples
from scripts.bench.process import BenchError, FinishedProcess, environment, run


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each measure takes.

    Attributes
    ----------
    photos : int or None
        For (a), (b) and (e); None for all there are.
    textbook, components, partitions : int
        Photos, k and Spark partitions of (c).
    pca_rows, pca_files, pca_components, pca_times : int
        The table of (d), k, and runs of each side.
    growth : three int
        Photos of the runs of (f).
    starts : int
        Runs of the job that (g) needs at least.
    again : bool
        Whether (c) runs the job after the textbook, too.
    latency : int
        Photos of (h).
    increment : int
        New photos of (i).
    known : two int
        Photos that (i) finds known already.
    compared, compared_long : int
        Rows that (k) and (l) compare.
    opened : int
        Rows of (m), ten in a file.
    """

    photos: int | None
    textbook: int
    components: int
    partitions: int
    pca_rows: int
    pca_files: int
    pca_components: int
    pca_times: int
    growth: tuple[int, int, int]
    starts: int
    again: bool
    latency: int
    increment: int
    known: tuple[int, int]
    compared: int
    compared_long: int
    opened: int


# 2,000 photos in 24 partitions are what the run of the starter notebook in the facts had.
FULL: Final = Sizes(
    photos=None,
    textbook=2000,
    components=100,
    partitions=24,
    pca_rows=20_000,
    pca_files=80,
    pca_components=100,
    pca_times=2,
    growth=(1000, 3000, 10_000),
    starts=3,
    again=True,
    latency=3000,
    increment=1000,
    known=(10_000, 50_000),
    compared=1_000_000,
    compared_long=10_000_000,
    opened=1_000_000,
)
QUICK: Final = Sizes(
    photos=300,
    textbook=60,
    components=30,
    partitions=2,
    pca_rows=2000,
    pca_files=8,
    pca_components=30,
    pca_times=1,
    growth=(60, 240, 600),
    starts=1,
    again=False,
    latency=300,
    increment=100,
    known=(500, 2000),
    compared=50_000,
    compared_long=200_000,
    opened=20_000,
)
SMALL: Final = 32  # photos of a run whose throughput does not matter


@dataclass(frozen=True, slots=True)
class JobRun:
    """A run of the job: the command's wall time, its record and its log."""

    ran: FinishedProcess
    record: dict[str, Any]
    events: list[dict[str, Any]]

    def seconds(self, step: str) -> float:
        """Return the seconds of a step, or of all (``total``)."""
        return float(self.record["seconds"][step])

    def first_photo(self) -> float | None:
        """Return the seconds from the start of the command to its first photo, if it tells."""
        at = self.record.get("first_photo_at")
        if at is not None:
            return datetime.fromisoformat(at).timestamp() - self.ran.started
        return None


@dataclass(slots=True)
class Bench:
    """What all measures share.

    Attributes
    ----------
    photos : callable
        Returns the photos and the folder that they are in.
    scratch : Path
        A folder that is deleted at the end.
    cores, sizes, repeat
        As asked for.
    cache : Path
        Where weights and the converted network are kept.
    say : callable
        Tells a person what is going on.
    peaks : dict
        Largest worker of a side's runs, in bytes: of ``job`` and ``textbook``.
    ceilings : list of float
        Seconds of every run of the plain processes.
    starts : list of float or None
        Seconds to the first photo of every run of the job.
    warm : bool
        Whether the job has run before.
    """

    photos: Callable[[], tuple[list[Path], Path]]
    scratch: Path
    cores: int
    sizes: Sizes
    repeat: int
    cache: Path
    say: Callable[[str], None]
    peaks: dict[str, int | None] = field(default_factory=dict)
    ceilings: list[float] = field(default_factory=list)
    starts: list[float | None] = field(default_factory=list)
    warm: bool = False

    def count(self) -> int:
        """Return how many photos (a) and (b) take."""
        return self.sizes.photos or max(len(self.photos()[0]), self.sizes.textbook)

    def folder(self, count: int) -> Path:
        """Return a folder of `count` photos, made on first use."""
        target = self.scratch / f"photos-{count}"
        if not target.exists():
            photos, root = self.photos()
            samples.copy_photos(samples.evenly_spaced(photos, count), root, target)
        return target

    def script(self, name: str, *arguments: object) -> FinishedProcess:
        """Run a neighbour of this file."""
        command = [sys.executable, "-m", f"scripts.bench.{name}", *map(str, arguments)]
        return run(command, environment(self.cores), name)

    def warm_up(self) -> None:
        """Run the job once on a few photos: it fetches and converts the network, and fills the page cache."""
        if not self.warm:
            self.warm = True
            self.say("the job on a few photos, to warm the caches")
            self.job(SMALL)
            self.starts.clear()  # it was cold

    def job(self, count: int, *flags: str) -> JobRun:
        """Run the job on `count` photos; never for the first time."""
        self.warm_up()
        output, known = self.scratch / "output", self.scratch / "known"
        done = self.command("--input", self.folder(count), "--output", output, *flags)
        if done.record["counts"]["listed"] != count:
            raise BenchError(f"the job listed {done.record['counts']['listed']} of {count} photos")
        if count == self.count() and not flags and not known.exists():
            output.rename(known)
        else:
            shutil.rmtree(output)
        self.starts.append(done.first_photo())
        return done

    def known(self) -> Path:
        """Return the first output of a run on the photos of (a); if there is none, run the job now."""
        if not (self.scratch / "known").exists():
            self.say(f"the job on {self.count():,} photos, which are known then")
            self.job(self.count())
        return self.scratch / "known"

    def command(self, *arguments: object, variables: dict[str, str] | None = None) -> JobRun:
        """Run the job with these arguments, and in another environment if one is given."""
        variables = variables or environment(self.cores)
        command = [sys.executable, "-m", "job", "--cache", self.cache, "--log-format", "json", *arguments]
        ran = run(list(map(str, command)), variables, "the job")
        events = [json.loads(line) for line in ran.output.splitlines() if line.startswith("{")]
        if not events or events[-1]["event"] != "summary":
            raise BenchError("the job ended without its summary")
        return JobRun(ran, events[-1], events)

    def ceiling(self, count: int | None = None) -> float:
        """Return the seconds that plain processes take for `count` photos, or for those of (a)."""
        self.warm_up()
        number = count or self.count()
        self.say(f"(a) {self.cores} plain processes on {number:,} photos")
        ran = self.script("ceiling", self.folder(number), "--cache", self.cache, "--cores", self.cores)
        seconds = float(ran.result()["seconds"])
        if number == self.count():
            self.ceilings.append(seconds)
        return seconds

    def record_peak(self, side: str, ran: FinishedProcess) -> None:
        """Remember a run's largest worker."""
        self.peaks[side] = max(self.peaks.get(side) or 0, ran.peak_bytes or 0) or None
