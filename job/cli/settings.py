"""The settings of one run: flags win over ``FRUITS_*`` environment variables, and these over defaults.

A run begins by parsing them; every later step receives the frozen :class:`Settings`.
"""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from job import __version__
from job.cli.parser import (
    JobParser,
    count,
    dollars,
    fraction,
    hours,
    location,
    path,
    positive_fraction,
    regions,
    run_id,
)
from job.errors import UsageError
from job.storage.locations import LOCATION_FORMS
from job.storage.residency import EU_REGIONS

EXAMPLE: Final = """\
example:
  python -m job --input photos/ --output build/out --variance 0.95
  spark-submit job/main.py --input s3://my-photos/2026/ --output s3://my-results/2026 --components 200

A second run on an output makes only the photos that are new or changed. Other commands on an output:
  job report, job predict, job show, job erase, job compact; each has its own --help
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
    fit_on: str = "all"
    classify: str | None = None
    engine: str = "litert"
    weights: Path | None = None
    max_rejected: float = 0.05
    limit: int | None = None
    manifest: str | None = None
    all_files: bool = False
    wave: int = 1_000
    prune: bool = False
    max_pruned: float = 0.1
    keep_versions: float = 0
    retry_rejected: bool = False
    refit: str = "auto"
    max_variance_loss: float = 0.01
    overwrite: bool = False
    no_report: bool = False
    language: Literal["en", "fr"] = "en"
    hourly_cost: float | None = None
    log_format: str = "text"
    regions: tuple[str, ...] = EU_REGIONS
    max_photo_bytes: int = 64 * 2**20
    max_photo_pixels: int = 50_000_000


def parse_settings(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return a run's settings from its command line and the ``FRUITS_*`` variables of `environment`.

    Raises
    ------
    UsageError
        If an option is missing or wrong; the sentence names it and what it accepts.
    SystemExit
        With 0, once ``--help`` or ``--version`` has printed.
    """
    options = _parser().parse_options(argv, environment)
    if "manifest" in options:
        options.setdefault("inputs", [])
    for field, option in (("inputs", "--input"), ("output", "--output")):
        if field not in options:
            raise UsageError(f"{option} is missing: give a {LOCATION_FORMS}; --help shows an example")
    if {"components", "variance"} <= options.keys():
        raise UsageError("--components and --variance exclude each other: give a count or a share, not both")
    if options.get("prune") and "limit" in options:
        raise UsageError("--prune and --limit exclude each other: what lies beyond a limit is not removed")
    options["inputs"] = tuple(sorted(set(options["inputs"])))
    return Settings(**{"run_id": new_run_id(), "cache": _default_cache(environment), **options})


def new_run_id() -> str:
    """Return an identifier that sorts by start time: ``20261121T210500Z-3f9a1c``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def _parser() -> JobParser:
    parser = JobParser("job", "Turn fruit photos into MobileNetV2 features and a PCA matrix.", EXAMPLE)
    add = parser.add_argument
    add(
        "--input",
        action="append",
        dest="inputs",
        type=location,
        metavar="URI",
        help=f"{LOCATION_FORMS}; repeatable",
    )
    add("--output", type=location, metavar="URI", help=f"{LOCATION_FORMS}, for the tables")
    add("--components", type=count, metavar="K", help="keep K principal components")
    add(
        "--variance",
        type=positive_fraction,
        metavar="F",
        help="keep as many as explain this share (default 0.95)",
    )
    add("--standardize", action="store_true", help="divide each feature by its standard deviation before PCA")
    add("--fit-on", choices=("all", "training"), help="photos to which the PCA is fitted (default all)")
    add("--classify", choices=("unlabelled", "all"), help="write predictions of these photos (default: none)")
    add("--engine", choices=("litert", "tensorflow"), help="network runtime (default litert)")
    add("--weights", type=path, metavar="FILE", help="Keras HDF5 file of MobileNetV2's ImageNet weights")
    add("--max-rejected", type=fraction, metavar="F", help="largest share refused (default 0.05)")
    add("--limit", type=count, metavar="N", help="only the first N photos, in order of their paths")
    add("--manifest", type=location, metavar="URI", help="a list of photos instead of a listing")
    add("--all-files", action="store_true", help="take every file for a photo, whatever its name")
    add("--wave", type=count, metavar="N", help="photos that become visible at once (default 1000)")
    add("--prune", action="store_true", help="take photos that are not listed any more out of the table")
    add("--max-pruned", type=fraction, metavar="F", help="largest share that --prune takes out (default 0.1)")
    add("--keep-versions", type=hours, metavar="HOURS", help="keep replaced files so long (default 0)")
    add("--retry-rejected", action="store_true", help="try rejected photos again, even if unchanged")
    add(
        "--refit",
        choices=("auto", "always", "never"),
        help="fit the PCA anew (default auto: if needed)",
    )
    add("--max-variance-loss", type=fraction, metavar="F", help="what auto allows (default 0.01)")
    add("--overwrite", action="store_true", help="replace the tables of another input in --output")
    add("--no-report", action="store_true", help="write no report.html, and leave no older one")
    add("--language", choices=("en", "fr"), help="of report.html (default en)")
    add(
        "--hourly-cost",
        type=dollars,
        metavar="USD",
        help="price of the run's machines in USD an hour, for the report",
    )
    add("--log-format", choices=("text", "json"), help="json: one object a line on stdout (default text)")
    add("--run-id", type=run_id, metavar="ID", help="name of this run (default: time and a random part)")
    add("--cache", type=path, metavar="FOLDER", help="for weights and network (default ~/.cache/fruits)")
    add("--regions", type=regions, metavar="R,R", help="where data may be (default: all AWS has in the EU)")
    add("--max-photo-bytes", type=count, metavar="N", help="larger files are refused (default 67108864)")
    add("--max-photo-pixels", type=count, metavar="N", help="larger images too (default 50000000)")
    add("--version", action="version", version=f"fruits {__version__}", help="print the version")
    return parser


def _default_cache(environment: Mapping[str, str]) -> Path:
    with contextlib.suppress(RuntimeError):  # a container's numeric user has no home
        return Path(environment.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "fruits"
    return Path(tempfile.gettempdir()) / f"fruits-{os.getuid()}"
