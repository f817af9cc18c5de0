"""The benchmark's command line: takes the measures, prints them, and writes them as JSON.

Absolute figures vary between machines and hours, so most figures are ratios of two sides that run one after
the other. ``python -m scripts.bench`` takes the full sizes, for which the targets are stated, and ``--quick``
small ones.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from job.cli import exits, settings
from job.cli.parser import SentenceParser
from job.errors import JobError, UsageError
from scripts.bench import samples
from scripts.bench.figures import Measurement, machine, table, write
from scripts.bench.measures import MEASURE_FUNCTIONS
from scripts.bench.process import ROOT, BenchError, use_cores
from scripts.bench.runs import Bench
from scripts.bench.sizes import FULL, QUICK
from scripts.bench.targets import MEASURES, measurement

PHOTOS = ROOT.parent / "shared" / "fruits-360" / "bench"
OUTPUT = ROOT / "build" / "bench.json"
DRAWN = ROOT / "build"
DRAWN_PER_KIND = {False: 40, True: 10}  # photos, by --quick: drawing is slower than inference


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit code.

    The code is 0 even if a target is missed, unless ``--check`` is set; 1 if a measure broke down; 2 if the
    arguments are wrong; 130 after Ctrl-C.
    """
    try:
        return _bench(_options(arguments))
    except JobError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted; nothing was written")
        return exits.INTERRUPTED


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
            (
                _measurement_or_failure(bench, letter)
                for letter in MEASURE_FUNCTIONS
                if letter in options.only
            ),
            key=lambda figures: figures.letter,
        )
    facts["load_after"] = machine(options.cores)["load"]
    print(f"{facts['cpu']}, {options.cores} of {facts['cores']} cores")
    for note in notes:
        print(f"  {note}")
    print("\n" + table(measurements))
    run = "quick" if options.quick else "full"
    write(options.output, {"run": run, "notes": notes, "machine": facts}, measurements)
    print(f"\nwritten to {options.output}")
    missed = options.check and any(figures.met is False for figures in measurements)
    return 1 if missed or any(figures.failed for figures in measurements) else 0


def _measurement_or_failure(bench: Bench, letter: str) -> Measurement:
    """Take a measure; if it breaks down, return a failed measurement, so that the others go on."""
    try:
        return MEASURE_FUNCTIONS[letter](bench)
    except BenchError as error:
        _say(f"({letter}) failed: {error}")
        return measurement(letter, "", detail=str(error), failed=True)


def _photos(options: argparse.Namespace, notes: list[str]) -> tuple[list[Path], Path]:
    """Return the photos and their folder: that of ``--photos``, the default one, or one of drawn photos."""
    folder: Path = options.photos or PHOTOS
    if options.photos is None and not PHOTOS.is_dir():
        _say(f"{PHOTOS} does not exist: drawing photos")
        per_kind = DRAWN_PER_KIND[options.quick]
        folder = DRAWN / f"bench-photos-{per_kind}"
        photos = samples.draw(folder, per_kind)
        notes.append(f"{PHOTOS} does not exist: {len(photos)} drawn photos are used instead, repeatedly")
        return photos, folder
    return samples.photos_in(folder), folder


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = SentenceParser(
        prog="bench",
        description="Measure the job, and print its figures beside their targets.",
        epilog="measures:\n" + "\n".join(f"  {letter}  {name}" for letter, (name, _) in MEASURES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--photos", type=Path, metavar="DIR", help=f"folder of photos (default {PHOTOS}, or drawn ones)")
    add("--quick", action="store_true", help="few photos, a small PCA: five minutes on two idle cores")
    letters = ",".join(MEASURES)
    add("--only", type=_letters, default=letters, metavar="A,B", help="only these measures, as in a,b,d")
    add("--cores", type=int, default=cores, metavar="N", help=f"cores to use (default {cores}, all)")
    add("--repeat", type=int, default=1, metavar="N", help="runs of b, c, f, h and i (default 1)")
    add("--output", type=Path, default=OUTPUT, metavar="FILE", help=f"JSON to write (default {OUTPUT})")
    add("--cache", type=Path, metavar="DIR", help="the job's cache of weights and network (default: its own)")
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
    unknown = [part for part in letters if part not in MEASURES]
    if unknown or not letters:
        raise argparse.ArgumentTypeError(f"{text!r} does not name measures: give {','.join(MEASURES)}")
    return "".join(letters)


def _cache() -> Path:
    """Return the job's default cache."""
    return settings.parse_settings(["--input", "-", "--output", "-"], os.environ).cache.absolute()


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    exits.interrupt_on_signals()
    sys.exit(main())
