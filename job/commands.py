"""The command lines of ``job erase``, ``job show`` and ``job compact``, and what ends them.

``main`` hands over to :func:`main` here if the first word of its arguments is one of these. None of the three
starts Spark.
"""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from job import compact, erase, exits, show, store
from job.arguments import EU_REGIONS, Parser, count, hours, location, regions
from job.compact import Compaction
from job.erase import Erasure
from job.errors import UsageError
from job.locations import WHERE, object_location
from job.log import Log
from job.search import Selection
from job.settings import new_run_id
from job.show import Question

REQUESTED_BY: Final = 200  # characters
EXITS: Final = """
Every option can also be set in the environment: --requested-by is FRUITS_REQUESTED_BY. Flags win.
exit codes: 0 done, 1 failed, 2 wrong arguments, 3 nothing is known (show), 4 outside the EU, 130 interrupted
"""


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes
    ----------
    about, example : str
        For ``--help``.
    options : callable
        Adds its own options to a parser.
    run : callable
        Is handed the options given, the id of this command and the log; returns the result and its text.
    again : str
        What to do after an interruption.
    """

    about: str
    example: str
    options: Callable[[Parser], None]
    run: Callable[[dict[str, Any], str, Log], tuple[dict[str, Any], str]]
    again: str


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str
        The command line, from the command's name on.
    environment : mapping
        Where ``FRUITS_*`` variables are looked up.
    """
    name, *words = arguments
    command = COMMANDS[name]
    log = exits.log_of(words, environment, new_run_id())

    def work() -> None:
        given = _parsed(name, words, environment)
        log.as_json = given.pop("log_format", "text") == "json"
        exits.end_on_signals()
        result, text = command.run(given, log.run_id, log)
        log.summary(text, **result)

    return exits.run(log, name, work, f"interrupted: {command.again}")


def _parsed(name: str, words: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    command = COMMANDS[name]
    parser = Parser(
        prog=f"job {name}",
        description=command.about,
        epilog=f"example:\n  {command.example}\n{EXITS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--output", type=location, metavar="URI", help=f"{WHERE}, of the tables")
    command.options(parser)
    parser.add_argument("--log-format", choices=("text", "json"), help="json: one object a line on stdout")
    parser.add_argument(
        "--regions", type=regions, metavar="R,R", help="where data may be (default: the EU's)"
    )
    given = vars(parser.parse_args([*parser.from_environment(words, environment), *words]))
    if "output" not in given:
        raise UsageError(f"--output is missing: give a {WHERE}; --help shows an example")
    return given


def _erase(given: dict[str, Any], command_id: str, log: Log) -> tuple[dict[str, Any], str]:
    selection = _selection(given, "--path, --prefix or --sha256")
    if "requested_by" not in given:
        raise UsageError(
            "--requested-by is missing: say who asked for it; the record of the erasure names them"
        )
    erasure = Erasure(
        given["output"],
        selection,
        given["requested_by"],
        given.get("dry_run", False),
        given.get("regions", EU_REGIONS),
    )
    done = erase.run(erasure, command_id, log)
    return done, erase.summary(done)


def _show(given: dict[str, Any], command_id: str, log: Log) -> tuple[dict[str, Any], str]:
    del command_id, log
    selection = _selection(given, "--path or --sha256")
    known = show.run(Question(given["output"], selection, given.get("regions", EU_REGIONS)))
    return known, show.summary(known)


def _compact(given: dict[str, Any], command_id: str, log: Log) -> tuple[dict[str, Any], str]:
    compaction = Compaction(
        given["output"],
        given.get("rows", compact.ROWS),
        given.get("regions", EU_REGIONS),
        given.get("keep_versions", 0),
    )
    done = compact.run(compaction, command_id, log)
    return done, compact.summary(done)


def _selection(given: Mapping[str, Any], options: str) -> Selection:
    paths, prefixes, hashes = (given.get(name, []) for name in ("paths", "prefixes", "sha256"))
    if not [*paths, *prefixes, *hashes]:
        raise UsageError(f"nothing is selected: give {options}; --help shows an example")
    return Selection(frozenset(paths), tuple(sorted(set(prefixes))), frozenset(hashes))


def _selectors(parser: Parser) -> None:
    parser.add_argument(
        "--path", action="append", dest="paths", type=_path, metavar="P", help="a photo; repeatable"
    )
    parser.add_argument(
        "--sha256",
        action="append",
        type=_sha256,
        metavar="H",
        help="photos of this content, 64 hexadecimal digits; repeatable",
    )


def _erase_options(parser: Parser) -> None:
    _selectors(parser)
    parser.add_argument(
        "--prefix",
        action="append",
        dest="prefixes",
        type=_prefix,
        metavar="P",
        help="photos whose path begins so, letter by letter as in S3: end a folder with /; repeatable",
    )
    parser.add_argument(
        "--requested-by", type=_who, metavar="WHO", help="who asked for it; stands in the record"
    )
    parser.add_argument("--dry-run", action="store_true", help="say how many photos, no more")


def _compact_options(parser: Parser) -> None:
    parser.add_argument(
        "--rows", type=count, metavar="N", help=f"most rows of a file (default {compact.ROWS})"
    )
    parser.add_argument(
        "--keep-versions", type=hours, metavar="HOURS", help="keep replaced files so long (default 0)"
    )


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


def _sha256(text: str) -> str:
    if re.fullmatch("[0-9a-fA-F]{64}", text):
        return text.lower()
    raise argparse.ArgumentTypeError(f"{text!r} is not 64 hexadecimal digits")


def _who(text: str) -> str:
    if text.strip() and text.isprintable() and len(text) <= REQUESTED_BY:
        return text.strip()
    raise argparse.ArgumentTypeError(f"{text!r} is not a name of 1 to {REQUESTED_BY} printable characters")


COMMANDS: Final = {
    "erase": Command(
        "Remove every trace of photos from an output.",
        "python -m job erase --output s3://my-results/2026 --path s3://my-photos/a.jpg "
        "--requested-by 'request 17'",
        _erase_options,
        _erase,
        "the erasure is not complete; say the same again",
    ),
    "show": Command(
        "Show what an output knows of a photo.",
        "python -m job show --output build/out --path photos/Apple/a.jpg",
        _selectors,
        _show,
        "nothing was changed",
    ),
    "compact": Command(
        "Merge the small files of an output into few.",
        "python -m job compact --output s3://my-results/2026 --rows 10000",
        _compact_options,
        _compact,
        "what was merged stays; say the same again to go on",
    ),
}
