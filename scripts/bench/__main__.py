"""The benchmark: what the job promises about speed, memory and cost, each figure beside its measure.

Absolute figures drift from machine to machine and from hour to hour, so each is a ratio of two sides that
were run one after the other. Run it: ``python -m scripts.bench --quick``, or without ``--quick`` for the
figures that the targets are meant for.
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
from job.cli.arguments import SentenceParser
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
DRAWN_EACH = {False: 40, True: 10}  # of every kind, by --quick: drawing takes longer than inferring
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit code.

    0 is also returned if a target is missed, unless ``--check`` is given; 1 if a measure broke down; 2 if the
    arguments are wrong; 130 after Ctrl-C.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; the process's own by default.
    """
    try:
        given = _parse(arguments)
        return _bench(given)
    except JobError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED


def _bench(given: argparse.Namespace) -> int:
    notes = [
        "quick: few photos and a small PCA; the targets are stated for the full run"
        if given.quick
        else "the full run"
    ]

    @cache
    def photos() -> tuple[list[Path], Path]:
        return _photos(given, notes)

    if given.photos is not None:
        photos()  # a wrong folder is told at once
    use_cores(given.cores)
    facts = machine(given.cores)
    if facts["load"][0] > 0.5 * given.cores:
        notes.append(f"others use this machine (load {facts['load'][0]:g}): figures will be noisy")
    for note in notes:
        _say(note)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        bench = Bench(
            photos=photos,
            scratch=Path(scratch).resolve(),
            cores=given.cores,
            sizes=QUICK if given.quick else FULL,
            repeat=given.repeat,
            cache=given.cache or _cache(),
            say=_say,
        )
        found = sorted(
            (_take(bench, letter) for letter in MEASURES if letter in given.only), key=lambda one: one.letter
        )
    facts["load_after"] = machine(given.cores)["load"]
    print(f"{facts['cpu']}, {given.cores} of {facts['cores']} cores")
    for note in notes:
        print(f"  {note}")
    print("\n" + table(found))
    write(given.output, {"run": "quick" if given.quick else "full", "notes": notes, "machine": facts}, found)
    print(f"\nwritten to {given.output}")
    missed = given.check and any(one.met is False for one in found)
    return 1 if missed or any(one.failed for one in found) else 0


def _take(bench: Bench, letter: str) -> Measurement:
    """Take a measure; one that breaks down does not keep the others from being taken."""
    try:
        return MEASURES[letter](bench)
    except BenchError as error:
        _say(f"({letter}) failed: {error}")
        return failure(letter, NAMES[letter], TARGETS[letter], str(error))


def _photos(given: argparse.Namespace, notes: list[str]) -> tuple[list[Path], Path]:
    """Return the photos and their folder: those that were named, the shared ones, or drawn ones."""
    folder: Path = given.photos or PHOTOS
    if given.photos is None and not PHOTOS.is_dir():
        _say(f"{PHOTOS} does not exist: drawing photos")
        each = DRAWN_EACH[given.quick]
        folder = DRAWN / f"bench-photos-{each}"
        drawn = samples.draw(folder, each)
        notes.append(f"{PHOTOS} does not exist: {len(drawn)} drawn photos are used instead, repeatedly")
        return drawn, folder
    return samples.find(folder), folder


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
    given = parser.parse_args(arguments)
    if not 1 <= given.cores <= cores:
        raise UsageError(f"--cores {given.cores}: this machine has {cores}, give 1 to {cores}")
    if given.repeat < 1:
        raise UsageError(f"--repeat {given.repeat}: give 1 or more")
    if given.output.is_dir():
        raise UsageError(f"--output {given.output} is a folder: name a file")
    return given


def _letters(text: str) -> str:
    letters = [part.strip().lower() for part in text.split(",") if part.strip()]
    wrong = [part for part in letters if part not in NAMES]
    if wrong or not letters:
        raise argparse.ArgumentTypeError(f"{text!r} does not name measures: give some of {','.join(NAMES)}")
    return "".join(letters)


def _cache() -> Path:
    """Return where the job itself would keep its weights."""
    return settings.parse_settings(["--input", "-", "--output", "-"], os.environ).cache.absolute()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # ends as Ctrl-C does, with nothing left behind
    sys.exit(main())
