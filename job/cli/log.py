"""What a run says while it works: sentences for people, or one JSON object a line for CloudWatch.

In text, messages go to stderr, so that stdout holds only the closing summary. In JSON, everything of ours
goes to stdout, where no line of Spark's can fall between two of ours.
"""

import json
import math
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TextIO


@dataclass(slots=True)
class Log:
    """Writes a run's events, from any thread, each as one line.

    In JSON a line is ``ts, level, event, run_id``, the sentence as ``message`` and the event's own fields.
    """

    run_id: str
    as_json: bool = False
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def info(self, event: str, text: str, /, **fields: object) -> None:
        """Say that something happened; `fields` are the event's figures."""
        self._write("info", event, text, fields)

    def warning(self, event: str, text: str, /, **fields: object) -> None:
        """Say that something deserves attention; the run goes on."""
        self._write("warning", event, text, fields)

    def error(self, event: str, text: str, /, **fields: object) -> None:
        """Say why the run ends."""
        self._write("error", event, text, fields)

    def summary(self, text: str, /, **fields: object) -> None:
        """Close a run: the text on stdout, or the event ``summary`` with its figures."""
        if self.as_json:
            self._write("info", "summary", "", fields)
        else:
            self._print(self.out, "\n".join(_printable(line) for line in text.split("\n")))

    def _write(self, level: str, event: str, text: str, fields: Mapping[str, object]) -> None:
        if not self.as_json:
            self._print(self.err, _printable(text if level == "info" else f"{level}: {text}"))
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, object] = {"ts": now, "level": level, "event": event, "run_id": self.run_id}
        if text:
            line["message"] = text
        # In ASCII: whatever the stream's encoding, nothing in a name can end the line or fail to be written.
        self._print(self.out, json.dumps(_strict({**line, **fields, **line}), allow_nan=False, default=str))

    def _print(self, stream: TextIO, words: str) -> None:
        encoding = stream.encoding or "utf-8"
        with self._lock:
            stream.write(words.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            stream.flush()


def _printable(text: str) -> str:
    """Escape line breaks and terminal sequences, which the name of a photo may hold."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _strict(value: object) -> object:
    """Return a value that JSON can hold: no NaN or infinity, and no keys that are not strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value
