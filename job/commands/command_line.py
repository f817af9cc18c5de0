"""The command lines of ``job erase``, ``job show`` and ``job compact``, and what ends them.

``main`` hands over to :func:`main` here if the first word of its arguments is one of these. None of the three
starts Spark.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from job.cli import exits
from job.cli.arguments import JobParser, count, hours, location, regions, sha256
from job.cli.settings import new_run_id
from job.commands import compact, erase, show
from job.commands.search import Selection
from job.errors import UsageError
from job.storage import store
from job.storage.locations import LOCATION_FORMS, object_location

REQUESTED_BY: Final = 200  # characters
EXITS: Final = """
Every option can also be set in the environment: --requested-by is FRUITS_REQUESTED_BY. Flags win.
exit codes: 0 done, 1 failed, 2 wrong arguments, 3 nothing is known (show), 4 outside the EU, 130 interrupted
"""


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    about: str  # for --help, as the example
    example: str
    run: Callable[..., dict[str, Any]]  # is handed the log and the options given, by name
    summary: Callable[[Mapping[str, Any]], str]  # turns what `run` returns into a text
    again: str  # what to do after an interruption


COMMANDS: Final = {
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
}


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command, which is the first of the arguments, and return its exit code."""
    name, *words = arguments
    command = COMMANDS[name]
    log = exits.initial_log(words, environment, new_run_id())

    def work() -> None:
        given = _given(name, _parser(name).parse_options(words, environment))
        log.as_json = given.pop("log_format", "text") == "json"
        exits.interrupt_on_signals()
        result = command.run(log=log, **given)
        log.summary(command.summary(result), **result)

    return exits.run_command(log, name, work, f"interrupted: {command.again}")


def _parser(name: str) -> JobParser:
    command = COMMANDS[name]
    parser = JobParser(f"job {name}", command.about, f"example:\n  {command.example}\n{EXITS}")
    add = parser.add_argument
    add("--output", type=location, metavar="URI", help=f"{LOCATION_FORMS}, of the tables")
    if name != "compact":
        content = "photos of this content, 64 hexadecimal digits; repeatable"
        add("--path", action="append", type=_path, metavar="P", help="a photo; repeatable")
        add("--sha256", action="append", type=sha256, metavar="H", help=content)
    if name == "erase":
        begin = "photos whose path begins so, letter by letter as in S3: end a folder with /; repeatable"
        add("--prefix", action="append", type=_prefix, metavar="P", help=begin)
        add("--requested-by", type=_who, metavar="WHO", help="who asked for it; stands in the record")
        add("--dry-run", action="store_true", help="say how many photos, no more")
    if name == "compact":
        add("--rows", type=count, metavar="N", help=f"most rows of a file (default {compact.ROWS})")
        add("--keep-versions", type=hours, metavar="HOURS", help="keep replaced files so long (default 0)")
    add("--log-format", choices=("text", "json"), help="json: one object a line on stdout")
    add("--regions", type=regions, metavar="R,R", help="where data may be (default: the EU's)")
    return parser


def _given(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return a command's options, complete; the photos selected are one of them."""
    if "output" not in given:
        raise UsageError(f"--output is missing: give a {LOCATION_FORMS}; --help shows an example")
    if name != "compact":
        paths, prefixes, hashes = (given.pop(option, []) for option in ("path", "prefix", "sha256"))
        if not paths + prefixes + hashes:
            options = "--path, --prefix or --sha256" if name == "erase" else "--path or --sha256"
            raise UsageError(f"nothing is selected: give {options}; --help shows an example")
        given["selection"] = Selection(frozenset(paths), tuple(sorted(set(prefixes))), frozenset(hashes))
    if name == "erase" and "requested_by" not in given:
        raise UsageError(
            "--requested-by is missing: say who asked for it; the record of the erasure names them"
        )
    return given


def _path(text: str) -> str:
    """Return a photo's path as it stands in tables."""
    return store.printable(object_location(text) or location(text))


def _prefix(text: str) -> str:
    """Return the beginning of paths. A slash at its end stays, and a bucket's name is whole."""
    if key := object_location(text):
        return key
    place = location(text)
    whole = text.endswith("/") or (store.is_s3(place) and place.count("/") == 2)
    return store.printable(f"{place.rstrip('/')}/" if whole else place)


def _who(text: str) -> str:
    if text.strip() and text.isprintable() and len(text) <= REQUESTED_BY:
        return text.strip()
    raise argparse.ArgumentTypeError(f"{text!r} is not a name of 1 to {REQUESTED_BY} printable characters")
