"""The command lines of erase, show, compact, predict and report: options, summaries and exit codes.

None of them starts Spark.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from job.cli import exits
from job.cli.parser import JobParser, count, hours, location, regions, sha256
from job.cli.settings import new_run_id
from job.commands import compact, erase, predict, report, show
from job.commands.selection import Selection
from job.errors import UsageError
from job.report.words import LANGUAGES
from job.storage import store
from job.storage.locations import LOCATION_FORMS, object_location

MAX_REQUESTER: Final = 200  # characters
EXITS: Final = """
Every option can also be set in the environment: --requested-by is FRUITS_REQUESTED_BY. Flags win.
exit codes: 0 done, 1 failed, 2 wrong arguments, 3 nothing is known (show) or a photo was rejected (predict),
4 outside the EU, 130 interrupted
"""
WITHOUT_SELECTION: Final = ("compact", "predict", "report")


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its help, its functions, and its sentence after an interruption."""

    description: str
    example: str
    run: Callable[..., dict[str, Any]]  # takes the log and the options as keywords, and returns the result
    summary: Callable[[Mapping[str, Any]], str]  # returns the closing text of that result
    interruption: str


COMMANDS: Final = {
    "report": Command(
        "Make the page report.html of an output anew.",
        "python -m job report --output build/out --language fr",
        report.run,
        report.summary,
        "the report stays as it was; say the same again",
    ),
    "erase": Command(
        "Remove every trace of photos from an output.",
        "python -m job erase --output s3://my-results/2026 --path s3://my-photos/a.jpg "
        "--requested-by 'request 17'",
        erase.run,
        erase.summary,
        "the erasure is not complete; say the same again",
    ),
    "show": Command(
        "Show what an output knows of a photo.",
        "python -m job show --output build/out --path photos/Apple/a.jpg",
        show.run,
        show.summary,
        "nothing was changed",
    ),
    "compact": Command(
        "Merge the small files of an output into few.",
        "python -m job compact --output s3://my-results/2026 --rows 10000",
        compact.run,
        compact.summary,
        "what was merged stays; say the same again to go on",
    ),
    "predict": Command(
        "Name the fruit on photos, by the classifier of an output.",
        "python -m job predict --output build/out photos/new.jpg s3://my-photos/2026/today",
        predict.run,
        predict.summary,
        "the photos without a line are not answered; say the same again",
    ),
}


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command that the first argument names, and return its exit code."""
    name, *words = arguments
    command = COMMANDS[name]
    log = exits.initial_log(words, environment, new_run_id())

    def work() -> None:
        options = _run_options(name, _parser(name).parse_options(words, environment))
        log.as_json = options.pop("log_format", "text") == "json"
        exits.interrupt_on_signals()
        result = command.run(log=log, **options)
        if (text := command.summary(result)) or log.as_json:
            log.summary(text, **result)

    return exits.run_command(log, name, work, f"interrupted: {command.interruption}")


def _parser(name: str) -> JobParser:
    command = COMMANDS[name]
    parser = JobParser(f"job {name}", command.description, f"example:\n  {command.example}\n{EXITS}")
    add = parser.add_argument
    add("--output", type=location, metavar="URI", help=f"{LOCATION_FORMS}, of the tables")
    if name not in WITHOUT_SELECTION:
        content = "photos of this content, 64 hexadecimal digits; repeatable"
        add("--path", action="append", type=_path, metavar="P", help="a photo; repeatable")
        add("--sha256", action="append", type=sha256, metavar="H", help=content)
    if name == "report":
        add("--language", choices=LANGUAGES, help="of the page (default en)")
    if name == "erase":
        begin = "photos whose path begins so, letter by letter as in S3: end a folder with /; repeatable"
        add("--prefix", action="append", type=_prefix, metavar="P", help=begin)
        add("--requested-by", type=_requester, metavar="WHO", help="who asked for it; stands in the record")
        add("--dry-run", action="store_true", help="say how many photos, no more")
    if name == "compact":
        add("--rows", type=count, metavar="N", help=f"most rows of a file (default {compact.ROWS})")
        add("--keep-versions", type=hours, metavar="HOURS", help="keep replaced files so long (default 0)")
    if name == "predict":
        place = "a file, a folder, s3://bucket/key or s3://bucket/prefix"
        add("photos", nargs="*", type=location, metavar="PHOTO", help=place)
        add("--json", action="store_true", dest="as_json", help="one JSON object a photo on stdout")
    add("--log-format", choices=("text", "json"), help="json: one object a line on stdout")
    add("--regions", type=regions, metavar="R,R", help="where data may be (default: the EU's)")
    return parser


def _run_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Check that no option is missing, and replace those that select photos by one Selection."""
    if "output" not in options:
        raise UsageError(f"--output is missing: give a {LOCATION_FORMS}; --help shows an example")
    if name not in WITHOUT_SELECTION:
        paths, prefixes, hashes = (options.pop(option, []) for option in ("path", "prefix", "sha256"))
        if not paths + prefixes + hashes:
            flags = "--path, --prefix or --sha256" if name == "erase" else "--path or --sha256"
            raise UsageError(f"nothing is selected: give {flags}; --help shows an example")
        options["selection"] = Selection(frozenset(paths), tuple(sorted(set(prefixes))), frozenset(hashes))
    if name == "predict" and not options.get("photos"):
        raise UsageError("no photo is given: name files, folders or s3:// objects; --help shows an example")
    if name == "erase" and "requested_by" not in options:
        raise UsageError(
            "--requested-by is missing: say who asked for it; the record of the erasure names them"
        )
    return options


def _path(text: str) -> str:
    """Return a photo's path in the form that the table holds."""
    return store.printable(object_location(text) or location(text))


def _prefix(text: str) -> str:
    """Return a prefix of paths in the table; a final slash is kept, and a bare bucket gets one."""
    if object_uri := object_location(text):
        return object_uri
    prefix = location(text)
    is_folder = text.endswith("/") or (store.is_s3(prefix) and prefix.count("/") == 2)
    return store.printable(f"{prefix.rstrip('/')}/" if is_folder else prefix)


def _requester(text: str) -> str:
    if text.strip() and text.isprintable() and len(text) <= MAX_REQUESTER:
        return text.strip()
    raise argparse.ArgumentTypeError(f"{text!r} is not a name of 1 to {MAX_REQUESTER} printable characters")
