"""What one run is asked to do: flags first, then ``FRUITS_*`` environment variables, then defaults.

Only ``main`` calls :func:`parse`; every later step is handed the frozen :class:`Settings`.
"""

import argparse
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import unquote, urlsplit

from job import __version__
from job.errors import UsageError

# The EU's own regions. London (eu-west-2) and Zurich (eu-central-2) are in Europe and outside the EU.
EU_REGIONS: Final = ("eu-west-1", "eu-west-3", "eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2")
RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

EXAMPLE: Final = """\
example:
  python -m job --input photos/ --output build/out --variance 0.95
  spark-submit job/main.py --input s3://my-photos/2026/ --output s3://my-results/2026 --components 200

Every option can also be set in the environment: --max-rejected is FRUITS_MAX_REJECTED. Flags win.
exit codes: 0 done, 1 failed, 2 wrong arguments, 3 data not acceptable, 4 would leave the EU, 130 interrupted
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """One run's settings, validated. Locations are normalised: absolute paths or ``s3://`` URIs."""

    inputs: tuple[str, ...]
    output: str
    run_id: str
    cache: Path
    components: int | None = None
    variance: float = 0.95
    standardize: bool = False
    engine: str = "litert"
    weights: Path | None = None
    max_rejected: float = 0.05
    limit: int | None = None
    overwrite: bool = False
    log_format: str = "text"
    regions: tuple[str, ...] = EU_REGIONS
    max_photo_bytes: int = 64 * 2**20
    max_photo_pixels: int = 100_000_000


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read the settings of a run.

    Parameters
    ----------
    argv : sequence of str
        The command line, without the program's name.
    environment : mapping
        Where ``FRUITS_*`` variables are looked up.

    Raises
    ------
    UsageError
        With one sentence that names the option and what it accepts.
    SystemExit
        With 0, after ``--help`` or ``--version`` has printed.
    """
    parser = _parser()
    given = parser.parse_args([*_from_environment(parser, argv, environment), *argv])
    if not given.input:
        raise UsageError("--input is missing: name a folder or an s3://bucket/prefix; --help shows an example")
    if not given.output:
        raise UsageError("--output is missing: name a folder or an s3://bucket/prefix; --help shows an example")
    if given.components is not None and given.variance is not None:
        raise UsageError("--components and --variance exclude each other: give a count or a share, not both")
    return Settings(
        inputs=tuple(sorted({normalise(uri) for uri in given.input})),
        output=normalise(given.output),
        run_id=given.run_id or new_run_id(),
        cache=Path(given.cache or _default_cache(environment)).expanduser(),
        components=given.components,
        variance=0.95 if given.variance is None else given.variance,
        standardize=given.standardize,
        engine=given.engine,
        weights=given.weights,
        max_rejected=given.max_rejected,
        limit=given.limit,
        overwrite=given.overwrite,
        log_format=given.log_format,
        regions=given.regions,
        max_photo_bytes=given.max_photo_bytes,
        max_photo_pixels=given.max_photo_pixels,
    )


def normalise(uri: str) -> str:
    """Turn what a user writes into a location.

    ``s3a://`` and ``s3://`` are the same; ``file://`` URIs are percent-decoded, plain paths are taken to the
    letter.

    Raises
    ------
    UsageError
        If the scheme is another one, or the bucket is missing.
    """
    scheme = uri.split("://", 1)[0] if "://" in uri else ""
    if scheme in ("s3", "s3a"):
        bucket, _, key = uri.split("://", 1)[1].partition("/")
        if not bucket:
            raise UsageError(f"{uri!r} names no bucket: write s3://bucket/prefix")
        return f"s3://{bucket}/{key.strip('/')}".rstrip("/")
    if scheme == "file":
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost"):
            raise UsageError(f"{uri!r} names another host: write file:///folder")
        uri = unquote(uri.split("://", 1)[1].removeprefix("localhost"))
    elif scheme:
        raise UsageError(f"{uri!r} has the scheme {scheme!r}: give a folder, file:// or s3://bucket/prefix")
    if not uri:
        raise UsageError("a location is empty: give a folder, file:// or s3://bucket/prefix")
    return str(Path(uri).expanduser().absolute()) if ".." not in Path(uri).parts else os.path.abspath(uri)  # noqa: PTH100


def new_run_id() -> str:
    """Return an identifier that sorts by start time: ``20261121T210500Z-3f9a1c``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, left to ``main`` to print."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; --help lists the options")


def _parser() -> _Parser:
    parser = _Parser(
        prog="job",
        description="Turn fruit photos into MobileNetV2 features and a PCA matrix.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--input", action="append", metavar="WHERE", help="folder, file:// or s3://bucket/prefix; repeatable")
    add("--output", metavar="WHERE", help="folder or s3://bucket/prefix for the tables")
    add("--components", type=_count, metavar="K", help="keep K principal components")
    add("--variance", type=_share, metavar="F", help="keep as many as explain this share (default 0.95)")
    add("--standardize", action="store_true", help="divide each feature by its standard deviation before PCA")
    add("--engine", choices=("litert", "tensorflow"), default="litert", help="network runtime (default litert)")
    add("--weights", type=Path, metavar="FILE", help="Keras HDF5 file of MobileNetV2's ImageNet weights")
    add("--max-rejected", type=_fraction, default=0.05, metavar="F", help="largest share refused (default 0.05)")
    add("--limit", type=_count, metavar="N", help="only the first N photos, in order of their paths")
    add("--overwrite", action="store_true", help="replace the tables of another input in --output")
    add("--log-format", choices=("text", "json"), default="text", help="json: one object a line on stdout")
    add("--run-id", type=_run_id, metavar="ID", help="name of this run (default: time and a random part)")
    add("--cache", metavar="FOLDER", help="where weights and the converted network are kept")
    add("--regions", type=_regions, default=EU_REGIONS, metavar="R,R", help="AWS regions that data may be in")
    add("--max-photo-bytes", type=_count, default=64 * 2**20, metavar="N", help="larger files are refused")
    add("--max-photo-pixels", type=_count, default=100_000_000, metavar="N", help="larger images too")
    add("--version", action="version", version=f"fruits {__version__}")
    return parser


def _from_environment(
    parser: argparse.ArgumentParser, argv: Sequence[str], environment: Mapping[str, str]
) -> list[str]:
    """Turn ``FRUITS_*`` variables into flags, leaving out what the command line says itself."""
    flags: list[str] = []
    said = {word.split("=", 1)[0] for word in argv}
    # The two ways to choose k are one choice: a flag for either silences the variable of both.
    if said & {"--components", "--variance"}:
        said |= {"--components", "--variance"}
    for action in parser._actions:
        flag = action.option_strings[-1]
        value = environment.get("FRUITS_" + flag[2:].replace("-", "_").upper(), "")
        if not value or flag in said or flag in ("--help", "--version"):
            continue
        if action.nargs == 0:
            if value.lower() not in ("1", "true", "yes", "0", "false", "no"):
                raise UsageError(f"FRUITS_{flag[2:].upper()} is {value!r}: say 1 or 0")
            flags += [flag] if value.lower() in ("1", "true", "yes") else []
        else:
            flags.append(f"{flag}={value}")
    return flags


def _default_cache(environment: Mapping[str, str]) -> str:
    return str(Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "fruits")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _share(text: str) -> float:
    value = _fraction(text)
    if value == 0.0:
        raise argparse.ArgumentTypeError("0 keeps nothing: give a share above 0 and up to 1")
    return value


def _run_id(text: str) -> str:
    if not RUN_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 64 letters, digits, dots, dashes or underscores")
    return text


def _regions(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    outside = [name for name in names if name not in EU_REGIONS]
    if not names or outside:
        what = ", ".join(outside) or "an empty list"
        raise argparse.ArgumentTypeError(f"{what} is not among the EU's regions ({', '.join(EU_REGIONS)})")
    return names

