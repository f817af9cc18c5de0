"""Runs the job and this package's scripts for the measures, and keeps the results that measures share."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from scripts.bench import samples
from scripts.bench.process import BenchError, FinishedProcess, environment, run
from scripts.bench.sizes import SMALL, Sizes


@dataclass(frozen=True, slots=True)
class JobRun:
    """A finished run of the job: its process, its record and its log."""

    process: FinishedProcess
    record: dict[str, Any]
    events: list[dict[str, Any]]

    def seconds(self, step: str) -> float:
        """Return the seconds of a step, or of the whole run (``total``)."""
        return float(self.record["seconds"][step])

    def seconds_to_first_photo(self) -> float | None:
        """Return the seconds from the start of the command to its first photo's features, if recorded."""
        first_photo_at = self.record.get("first_photo_at")
        if first_photo_at is None:
            return None
        return datetime.fromisoformat(first_photo_at).timestamp() - self.process.started


@dataclass(slots=True)
class Bench:
    """The settings of a benchmark, its scratch folder, and the results that several measures share.

    Attributes
    ----------
    photos : callable
        Returns the photos and the folder that they are in.
    scratch : Path
        A folder that is deleted at the end.
    cores, sizes, repeat
        As ``--cores``, ``--quick`` and ``--repeat`` set them.
    cache : Path
        The job's cache of weights and of the converted network.
    say : callable
        Prints a line of progress.
    peak_bytes : dict
        The largest Python worker of ``job`` and of ``textbook``.
    ceiling_seconds : list of float
        Of every run of the plain processes on all photos.
    first_photo_seconds : list of float or None
        Of every run of the job, from its start to its first photo.
    is_warm : bool
        Whether the job has filled its caches.
    """

    photos: Callable[[], tuple[list[Path], Path]]
    scratch: Path
    cores: int
    sizes: Sizes
    repeat: int
    cache: Path
    say: Callable[[str], None]
    peak_bytes: dict[str, int | None] = field(default_factory=dict)
    ceiling_seconds: list[float] = field(default_factory=list)
    first_photo_seconds: list[float | None] = field(default_factory=list)
    is_warm: bool = False

    def photo_count(self) -> int:
        """Return the number of photos of the ceiling (a) and of featurization (b)."""
        return self.sizes.photos or max(len(self.photos()[0]), self.sizes.textbook_photos)

    def photo_folder(self, count: int) -> Path:
        """Return a folder of `count` photos, made on first use."""
        folder = self.scratch / f"photos-{count}"
        if not folder.exists():
            photos, root = self.photos()
            samples.copy_photos(samples.evenly_spaced(photos, count), root, folder)
        return folder

    def run_script(self, name: str, *arguments: object) -> FinishedProcess:
        """Run a module of this package as a process."""
        command = [sys.executable, "-m", f"scripts.bench.{name}", *map(str, arguments)]
        return run(command, environment(self.cores), name)

    def warm_up(self) -> None:
        """Run the job once on a few photos: it fetches and converts the network, and fills the page cache."""
        if not self.is_warm:
            self.is_warm = True
            self.say("the job on a few photos, to warm the caches")
            self.run_on_photos(SMALL)
            self.first_photo_seconds.clear()  # the caches were cold

    def run_on_photos(self, count: int, *flags: str) -> JobRun:
        """Run the job on `count` photos, with warm caches."""
        self.warm_up()
        output, known_output = self.scratch / "output", self.scratch / "known"
        job_run = self.run_job("--input", self.photo_folder(count), "--output", output, *flags)
        if job_run.record["counts"]["listed"] != count:
            raise BenchError(f"the job listed {job_run.record['counts']['listed']} of {count} photos")
        if count == self.photo_count() and not flags and not known_output.exists():
            output.rename(known_output)
        else:
            shutil.rmtree(output)
        self.first_photo_seconds.append(job_run.seconds_to_first_photo())
        return job_run

    def known_output(self) -> Path:
        """Return the first output of a run on the photos of (a); if there is none, run the job now."""
        if not (self.scratch / "known").exists():
            self.say(f"the job on {self.photo_count():,} photos, which are known then")
            self.run_on_photos(self.photo_count())
        return self.scratch / "known"

    def run_job(self, *arguments: object, variables: dict[str, str] | None = None) -> JobRun:
        """Run the job with these arguments, in the benchmark's own environment unless another is given."""
        variables = variables or environment(self.cores)
        command = [sys.executable, "-m", "job", "--cache", self.cache, "--log-format", "json", *arguments]
        process = run(list(map(str, command)), variables, "the job")
        events = [json.loads(line) for line in process.output.splitlines() if line.startswith("{")]
        if not events or events[-1]["event"] != "summary":
            raise BenchError("the job ended without its summary")
        return JobRun(process, events[-1], events)

    def time_ceiling(self, photos: int | None = None) -> float:
        """Return the seconds that plain processes take for `photos` photos, or for those of (a)."""
        self.warm_up()
        count = photos or self.photo_count()
        self.say(f"(a) {self.cores} plain processes on {count:,} photos")
        folder = self.photo_folder(count)
        process = self.run_script("ceiling", folder, "--cache", self.cache, "--cores", self.cores)
        seconds = float(process.result()["seconds"])
        if count == self.photo_count():
            self.ceiling_seconds.append(seconds)
        return seconds

    def record_peak(self, side: str, process: FinishedProcess) -> None:
        """Keep the peak memory of a side's largest Python worker so far."""
        self.peak_bytes[side] = max(self.peak_bytes.get(side) or 0, process.peak_bytes or 0) or None
