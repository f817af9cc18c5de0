"""Command lines as eksctl and kubectl parse them (with cobra), and the recorders' memory."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Refused(Exception):  # noqa: N818 (said to the user, as the tool says it)
    """A tool's message on stderr before it exits with 1."""


@dataclass
class Line:
    """A command line: its words, and its flags by their long name."""

    words: list[str] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)

    def take(self, *accepted: str) -> None:
        """Refuse all flags except these."""
        for flag in self.flags:
            if flag not in accepted:
                raise Refused(f"Error: unknown flag: --{flag}")


def read(arguments: Sequence[str], switches: Sequence[str], short: dict[str, str]) -> Line:
    """Read a command line; a flag that is no switch takes a value, after ``=`` or as the next word."""
    line, remaining = Line(), list(arguments)
    while remaining:
        word = remaining.pop(0)
        if not word.startswith("-") or word == "-":
            line.words.append(word)
            continue
        name, equals, value = word.partition("=")
        name = name[2:] if name.startswith("--") else short.get(name[1:], "")
        if not name:
            raise Refused(f"Error: unknown shorthand flag: {word[1]!r} in {word}")
        if name in switches:
            line.flags[name] = value if equals else "true"
        elif not equals and not remaining:
            raise Refused(f"Error: flag needs an argument: {word}")
        else:
            line.flags[name] = value if equals else remaining.pop(0)
    return line


@dataclass(frozen=True)
class Memory:
    """A folder in which recorders write down calls, and tests put settings for them."""

    folder: Path

    @classmethod
    def here(cls) -> "Memory":
        """Return the folder that the environment names."""
        folder = Path(os.environ["RECORDERS"])
        folder.mkdir(exist_ok=True)
        return cls(folder)

    def note(self, tool: str, arguments: Sequence[str]) -> None:
        """Record a call."""
        with (self.folder / "calls").open("a", encoding="utf-8") as file:
            file.write(json.dumps([tool, *arguments]) + "\n")

    def calls(self) -> list[list[str]]:
        """Return the recorded calls."""
        file = self.folder / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def get(self, name: str, default: Any = None) -> Any:
        """Return a stored value."""
        file = self.folder / f"{name}.json"
        return json.loads(file.read_text()) if file.exists() else default

    def put(self, name: str, value: Any) -> None:
        """Store a value."""
        (self.folder / f"{name}.json").write_text(json.dumps(value))

    def ends_at(self, point: str) -> None:
        """Interrupt as Ctrl-C does, once, if a test has set this point."""
        if self.get("ends") == point:
            self.put("ends", None)
            raise KeyboardInterrupt
