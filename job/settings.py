"""What one run is asked to do: flags first, then ``FRUITS_*`` environment variables, then defaults.

Only ``main`` calls :func:`parse`; every later step is handed the frozen :class:`Settings`.
"""

import argparse
import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import unquote

from job import __version__
from job.errors import UsageError

# The EU's own regions. London (eu-west-2) and Zurich (eu-central-2) are in Europe and outside the EU.
EU_REGIONS: Final = ("eu-west-1", "eu-west-3", "eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2")
BOOLEANS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
WHERE: Final = "folder, file:///folder or s3://bucket/prefix"

EXAMPLE: Final = """\
example:
  python -m job --input photos/ --output build/out --variance 0.95
  spark-submit job/main.py --input s3://my-photos/2026/ --output s3://my-results/2026 --components 200

Every option can also be set in the environment: --max-rejected is FRUITS_MAX_REJECTED. Flags win.
exit codes: 0 done, 1 failed, 2 wrong arguments, 3 data not acceptable, 4 would leave the EU, 130 interrupted
"""

# Scheme, host or bucket, path; Hadoop prints file:/folder with one slash.
_URI: Final = re.compile(r"(file(?=:/[^/])|[A-Za-z][A-Za-z0-9+.-]*(?=://)):(?://([^/]*))?(.*)", re.DOTALL)


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
    max_photo_pixels: int = 50_000_000


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
    given: dict[str, Any] = vars(parser.parse_args([*parser.from_environment(argv, environment), *argv]))
    for field, option in (("inputs", "--input"), ("output", "--output")):
        if field not in given:
            raise UsageError(f"{option} is missing: give a {WHERE}; --help shows an example")
    if {"components", "variance"} <= given.keys():
        raise UsageError("--components and --variance exclude each other: give a count or a share, not both")
    given["inputs"] = tuple(sorted(set(given["inputs"])))
    return Settings(**{"run_id": new_run_id(), "cache": _default_cache(environment), **given})


def normalise(uri: str) -> str:
    """Turn what a user writes into a location.

    ``s3a://`` and ``s3://`` are the same; ``file://`` URIs are percent-decoded, plain paths are taken to the
    letter but for a leading ``~``, the user's own home.

    Raises
    ------
    UsageError
        If the scheme is another one, or the bucket is missing.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        return _absolute(uri)
    scheme, host, path = match[1].lower(), match[2] or "", match[3]
    if scheme == "file" and host in ("", "localhost"):
        return _absolute(unquote(path, errors="surrogateescape"))
    parts = [part for part in path.split("/") if part]  # Hadoop, too, takes // for /
    if scheme not in ("s3", "s3a") or not re.fullmatch("[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", host):
        raise UsageError(f"{uri!r} is no location: give a {WHERE}")
    if {".", ".."} & set(parts):
        raise UsageError(f"{uri!r} has a . or .. in it, which S3 does not resolve: give a {WHERE}")
    return "/".join(["s3:/", host, *parts])


def new_run_id() -> str:
    """Return an identifier that sorts by start time: ``20261121T210500Z-3f9a1c``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def _absolute(text: str) -> str:
    if not text or "\0" in text:
        raise UsageError(f"{text!r} is no location: give a {WHERE}")
    home = text == "~" or text.startswith("~/")  # ~name is as likely a folder's name as a user's
    path = (Path(text).expanduser() if home else Path(text)).absolute()
    if ".." in path.parts:
        # Above a link is above what it points to, so what stands before the last `..` has to be looked up.
        start = len(path.parts) - path.parts[::-1].index("..")
        path = Path(*path.parts[:start]).resolve().joinpath(*path.parts[start:])
    return "/" + str(path).lstrip("/")  # two slashes at the start would make Hadoop see a host


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, left to ``main`` to print."""

    def from_environment(self, argv: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        """Turn ``FRUITS_*`` variables into flags, leaving out what the command line says itself."""
        flags: list[str] = []
        said = {word.split("=", 1)[0] for word in argv}
        if said & {"-h", "--help", "--version"}:  # these answer whatever the environment holds
            return flags
        # The two ways to choose k are one choice: a flag for either silences the variable of both.
        if said & {"--components", "--variance"}:
            said |= {"--components", "--variance"}
        for action in self._actions:
            flag = action.option_strings[-1]
            variable = "FRUITS_" + flag[2:].replace("-", "_").upper()
            value = environment.get(variable, "")
            if not value or flag in {*said, "--help", "--version"}:
                continue
            if action.nargs == 0:
                if value.lower() not in BOOLEANS:
                    raise UsageError(f"{variable}: {value!r} is not {', '.join(BOOLEANS)} ({action.help})")
                flags += [flag] if BOOLEANS[value.lower()] else []
                continue
            flags.append(f"{flag}={value}")
            try:
                self.parse_args(flags[-1:])
            except UsageError as error:
                raise UsageError(str(error).replace(flag, variable, 1)) from None
        return flags

    def error(self, message: str) -> NoReturn:
        name, _, fault = message.removeprefix("argument ").partition(": ")
        if name == "unrecognized arguments":
            raise UsageError(f"unknown argument {fault!r}: --help lists the options")
        meaning = next((action.help for action in self._actions if name in action.option_strings), "help")
        raise UsageError(f"{name}: {fault} ({meaning})" if " argument" in fault else f"{name}: {fault}")


def _parser() -> _Parser:
    parser = _Parser(
        prog="job",
        description="Turn fruit photos into MobileNetV2 features and a PCA matrix.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is left to the defaults of Settings
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--input", action="append", dest="inputs", type=_location, metavar="URI", help=f"{WHERE}; repeatable")
    add("--output", type=_location, metavar="URI", help=f"{WHERE}, for the tables")
    add("--components", type=_count, metavar="K", help="keep K principal components")
    add("--variance", type=_share, metavar="F", help="keep as many as explain this share (default 0.95)")
    add("--standardize", action="store_true", help="divide each feature by its standard deviation before PCA")
    add("--engine", choices=("litert", "tensorflow"), help="network runtime (default litert)")
    add("--weights", type=_local, metavar="FILE", help="Keras HDF5 file of MobileNetV2's ImageNet weights")
    add("--max-rejected", type=_fraction, metavar="F", help="largest share refused (default 0.05)")
    add("--limit", type=_count, metavar="N", help="only the first N photos, in order of their paths")
    add("--overwrite", action="store_true", help="replace the tables of another input in --output")
    add("--log-format", choices=("text", "json"), help="json: one object a line on stdout (default text)")
    add("--run-id", type=_run_id, metavar="ID", help="name of this run (default: time and a random part)")
    add("--cache", type=_local, metavar="FOLDER", help="for weights and network (default ~/.cache/fruits)")
    add("--regions", type=_regions, metavar="R,R", help="where data may be (default: all AWS has in the EU)")
    add("--max-photo-bytes", type=_count, metavar="N", help="larger files are refused (default 67108864)")
    add("--max-photo-pixels", type=_count, metavar="N", help="larger images too (default 50000000)")
    add("--version", action="version", version=f"fruits {__version__}", help="print the version")
    return parser


def _default_cache(environment: Mapping[str, str]) -> Path:
    with contextlib.suppress(RuntimeError):  # a numeric user without a home, as containers have them
        return Path(environment.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "fruits"
    return Path(tempfile.gettempdir()) / f"fruits-{os.getuid()}"


def _location(text: str) -> str:
    try:
        return normalise(text)
    except (UsageError, RuntimeError) as error:  # the second when ~ stands for nothing
        raise argparse.ArgumentTypeError(str(error)) from None


def _local(text: str) -> Path:
    location = _location(text)
    if location.startswith("s3://"):
        raise argparse.ArgumentTypeError(f"{text!r} is not on this machine: give a path")
    return Path(location)


def _count(text: str) -> int:
    if re.fullmatch("0*[1-9][0-9]{0,14}", text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1 and at most 15 digits")


def _fraction(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.0 <= float(text) <= 1.0:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")


def _share(text: str) -> float:
    if share := _fraction(text):
        return share
    raise argparse.ArgumentTypeError("0 keeps nothing, give a number above 0 and up to 1")


def _run_id(text: str) -> str:
    if re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not a letter or digit and up to 63 more, or . or _ or -")


def _regions(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    outside = ", ".join(name for name in names if name not in EU_REGIONS)
    if names and not outside:
        return names
    raise argparse.ArgumentTypeError(f"{outside or 'nothing'} is not one of {', '.join(EU_REGIONS)}")
