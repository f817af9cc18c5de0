"""Argument parsers with one-sentence errors, and the converters that check each option's value.

Every command starts here: its parser merges the command line with the ``FRUITS_*`` environment variables.
"""

import argparse
import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from job.errors import UsageError
from job.storage.locations import normalise
from job.storage.residency import EU_REGIONS

T = TypeVar("T")

BOOLEANS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class SentenceParser(argparse.ArgumentParser):
    """An argument parser that raises its errors as one sentence and leaves printing to ``main``."""

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message as a UsageError."""
        raise UsageError(f"{message}; --help lists the options")


class JobParser(SentenceParser):
    """A parser that also reads every option from an environment variable ``FRUITS_*``."""

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,  # the caller has the defaults
            allow_abbrev=False,
        )

    def parse_options(self, argv: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
        """Return the options set on the command line or in the environment, by name; flags win."""
        return vars(self.parse_intermixed_args([*self._environment_flags(argv, environment), *argv]))

    def _environment_flags(self, argv: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        """Turn ``FRUITS_*`` variables into flags, except those that the command line already sets."""
        flags: list[str] = []
        command_line = {word.split("=", 1)[0] for word in argv}
        if command_line & {"-h", "--help", "--version"}:  # these work even if a variable is wrong
            return flags
        # Both options choose k: a flag for either one overrides both variables.
        if command_line & {"--components", "--variance"}:
            command_line |= {"--components", "--variance"}
        for action in self._actions:
            if not action.option_strings:  # the photos of ``predict``
                continue
            flag = action.option_strings[-1]
            variable = "FRUITS_" + flag[2:].replace("-", "_").upper()
            value = environment.get(variable, "")
            if not value or flag in {*command_line, "--help", "--version"}:
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
        """Raise argparse's message as a UsageError that explains the option."""
        name, _, fault = message.removeprefix("argument ").partition(": ")
        if name == "unrecognized arguments":
            raise UsageError(f"unknown argument {fault!r}: --help lists the options")
        meaning = next((action.help for action in self._actions if name in action.option_strings), "help")
        raise UsageError(f"{name}: {fault} ({meaning})" if " argument" in fault else f"{name}: {fault}")


def location(text: str) -> str:
    """Return a folder as an absolute path, or an ``s3://`` URI."""
    try:
        return normalise(text)
    except (UsageError, RuntimeError) as error:  # RuntimeError: ~ without a home directory
        raise argparse.ArgumentTypeError(str(error)) from None


def path(text: str) -> Path:
    """Return an absolute path on this machine."""
    uri_or_path = location(text)
    if uri_or_path.startswith("s3://"):
        raise argparse.ArgumentTypeError(f"{text!r} is not on this machine: give a path")
    return Path(uri_or_path)


def _converter(pattern: str, convert: Callable[[str], T], meaning: str) -> Callable[[str], T]:
    """Return a converter of values that match `pattern`; its error for others names the `meaning`."""

    def convert_match(text: str) -> T:
        if re.fullmatch(pattern, text):
            return convert(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not {meaning}")

    return convert_match


count = _converter("0*[1-9][0-9]{0,14}", int, "a whole number of at least 1 and at most 15 digits")
hours = _converter(r"[0-9]{1,5}(\.[0-9]{1,3})?", float, "a number of hours, as 0 or 168")
dollars = _converter(
    r"[0-9]{1,6}(\.[0-9]{1,6})?", float, "a number of US dollars, as 0.54, up to 6 digits before the point"
)
run_id = _converter(
    "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", str, "a letter or digit and up to 63 more, or . or _ or -"
)
sha256 = _converter("[0-9a-fA-F]{64}", str.lower, "64 hexadecimal digits")


def fraction(text: str) -> float:
    """Return a number from 0 to 1."""
    with contextlib.suppress(ValueError):
        if 0.0 <= float(text) <= 1.0:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")


def positive_fraction(text: str) -> float:
    """Return a number above 0 and up to 1."""
    if number := fraction(text):
        return number
    raise argparse.ArgumentTypeError("0 keeps nothing, give a number above 0 and up to 1")


def regions(text: str) -> tuple[str, ...]:
    """Return AWS regions from a comma-separated list; all must be in the EU."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    outside = ", ".join(name for name in names if name not in EU_REGIONS)
    if names and not outside:
        return names
    raise argparse.ArgumentTypeError(f"{outside or 'nothing'} is not one of {', '.join(EU_REGIONS)}")
