"""The benchmark's command line: takes the measures, prints them, and writes them as JSON.

Absolute figures vary between machines and hours, so most figures are ratios of two sides that run one after
the other. Run it: ``python -m scripts.bench``; ``--quick`` takes small sizes, for which the targets are not
meant.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import FrameType

from job.cli import settings
from job.cli.parser import SentenceParser
from job.errors import JobError, UsageError
from scripts.bench import samples
from scripts.bench.figures import Measurement, failure, machine, table, write
from scripts.bench.measures import MEASURES
from scripts.bench.process import ROOT, BenchError, use_cores
from scripts.bench.sides import FULL, QUICK, Bench
from scripts.bench.targets import NAMES, TARGETS

PHOTOS = ROOT.parent / "shared" / "fruits-360" / "bench"
OUTPUT = ROOT / "build" / "bench.json"
DRAWN = ROOT / "build"
DRAWN_EACH = {False: 40, True: 10}  # photos of each kind, by --quick: drawing is slower than inference
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit code.

    It is 0 also if a target is missed, unless ``--check`` is set; 1 if a measure broke down; 2 if the
    arguments are wrong; 130 after Ctrl-C.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; the process's own by default.
    """
    try:
        options = _parse(arguments)
        return _bench(options)
    except JobError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED


def _bench(options: argparse.Namespace) -> int:
    notes = [
        "quick: few photos and a small PCA; the targets are stated for the full run"
        if options.quick
        else "the full run"
    ]

    @cache
    def photos() -> tuple[list[Path], Path]:
        return _photos(options, notes)

    if options.photos is not None:
        photos()  # reports a wrong folder at once
    use_cores(options.cores)
    facts = machine(options.cores)
    if facts["load"][0] > 0.5 * options.cores:
        notes.append(f"others use this machine (load {facts['load'][0]:g}): figures will be noisy")
    for note in notes:
        _say(note)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        bench = Bench(
            photos=photos,
            scratch=Path(scratch).resolve(),
            cores=options.cores,
            sizes=QUICK if options.quick else FULL,
            repeat=options.repeat,
            cache=options.cache or _cache(),
            say=_say,
        )
        measurements = sorted(
            (_measurement(bench, letter) for letter in MEASURES if letter in options.only),
            key=lambda measurement: measurement.letter,
        )
    facts["load_after"] = machine(options.cores)["load"]
    print(f"{facts['cpu']}, {options.cores} of {facts['cores']} cores")
    for note in notes:
        print(f"  {note}")
    print("\n" + table(measurements))
    run = "quick" if options.quick else "full"
    write(options.output, {"run": run, "notes": notes, "machine": facts}, measurements)
    print(f"\nwritten to {options.output}")
    missed = options.check and any(measurement.met is False for measurement in measurements)
    return 1 if missed or any(measurement.failed for measurement in measurements) else 0


def _measurement(bench: Bench, letter: str) -> Measurement:
    """Take a measure; if it breaks down, return a failed measurement, so that the others go on."""
    try:
        return MEASURES[letter](bench)
    except BenchError as error:
        _say(f"({letter}) failed: {error}")
        return failure(letter, NAMES[letter], TARGETS[letter], str(error))


def _photos(options: argparse.Namespace, notes: list[str]) -> tuple[list[Path], Path]:
    """Return the photos and their folder: those of ``--photos``, the shared ones, or drawn ones."""
    folder: Path = options.photos or PHOTOS
    if options.photos is None and not PHOTOS.is_dir():
        _say(f"{PHOTOS} does not exist: drawing photos")
        each = DRAWN_EACH[options.quick]
        folder = DRAWN / f"bench-photos-{each}"
        drawn = samples.draw(folder, each)
        notes.append(f"{PHOTOS} does not exist: {len(drawn)} drawn photos are used instead, repeatedly")
        return drawn, folder
    return samples.photos_in(folder), folder


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = SentenceParser(
        prog="bench",
        description="Measure the job against what it is measured by.",
        epilog="measures: " + "; ".join(f"{letter} {name}" for letter, name in NAMES.items()),
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--photos", type=Path, metavar="DIR", help=f"folder of photos (default {PHOTOS}, or drawn ones)")
    add("--quick", action="store_true", help="few photos, a small PCA: five minutes on two idle cores")
    add(
        "--only",
        type=_letters,
        default=",".join(NAMES),
        metavar="A,B",
        help="only these measures, as in a,b,d",
    )
    add("--cores", type=int, default=cores, metavar="N", help=f"cores to use (default {cores}, all)")
    add("--repeat", type=int, default=1, metavar="N", help="runs of b, c, f, h and i (default 1)")
    add("--output", type=Path, default=OUTPUT, metavar="FILE", help=f"JSON to write (default {OUTPUT})")
    add("--cache", type=Path, metavar="DIR", help="where the job keeps weights and the converted network")
    add("--check", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args(arguments)
    if not 1 <= options.cores <= cores:
        raise UsageError(f"--cores {options.cores}: this machine has {cores}, give 1 to {cores}")
    if options.repeat < 1:
        raise UsageError(f"--repeat {options.repeat}: give 1 or more")
    if options.output.is_dir():
        raise UsageError(f"--output {options.output} is a folder: name a file")
    return options


def _letters(text: str) -> str:
    letters = [part.strip().lower() for part in text.split(",") if part.strip()]
    unknown = [part for part in letters if part not in NAMES]
    if unknown or not letters:
        raise argparse.ArgumentTypeError(f"{text!r} does not name measures: give some of {','.join(NAMES)}")
    return "".join(letters)


def _cache() -> Path:
    """Return the job's default cache."""
    return settings.parse_settings(["--input", "-", "--output", "-"], os.environ).cache.absolute()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # ends as Ctrl-C does, and leaves no process
    sys.exit(main())
