"""The log of a command: sentences for people, or one JSON object a line for CloudWatch.

As text, events go to stderr, so that stdout holds only the closing summary. As JSON, everything goes to
stdout, because Spark writes its own lines to stderr.
"""

import json
import math
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TextIO

BROKEN_PIPE: Final = 141  # a shell's exit code after SIGPIPE


@dataclass(slots=True)
class Log:
    """Writes events, each as one line; safe to use from any thread.

    A JSON line holds ``ts, level, event, run_id``, the sentence as ``message``, and the event's own fields.
    """

    run_id: str
    as_json: bool = False
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def info(self, event: str, text: str, /, **fields: object) -> None:
        """Log that something happened; `fields` are the event's figures."""
        self._write("info", event, text, fields)

    def warning(self, event: str, text: str, /, **fields: object) -> None:
        """Log that something deserves attention; the command goes on."""
        self._write("warning", event, text, fields)

    def error(self, event: str, text: str, /, **fields: object) -> None:
        """Log why the command fails."""
        self._write("error", event, text, fields)

    def result(self, event: str, text: str, /, **fields: object) -> None:
        """Write one of many results: `text` as a line on stdout, or the event with its fields.

        Raises
        ------
        SystemExit
            If nobody reads stdout any more, as after ``| head``.
        """
        try:
            if self.as_json:
                self._write("info", event, "", fields)
            else:
                self._print(self.out, _printable(text))
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.out.fileno())  # or Python complains when it ends
            raise SystemExit(BROKEN_PIPE) from None

    def summary(self, text: str, /, **fields: object) -> None:
        """Write the closing summary: `text` on stdout, or the event ``summary`` with its fields."""
        if self.as_json:
            self._write("info", "summary", "", fields)
        else:
            self._print(self.out, "\n".join(_printable(line) for line in text.split("\n")))

    def _write(self, level: str, event: str, text: str, fields: Mapping[str, object]) -> None:
        if not self.as_json:
            self._print(self.err, _printable(text if level == "info" else f"{level}: {text}"))
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        header: dict[str, object] = {"ts": now, "level": level, "event": event, "run_id": self.run_id}
        if text:
            header["message"] = text
        # ASCII only: no character of a photo's name can break the line or fail to encode.
        line = json.dumps(_json_value({**header, **fields, **header}), allow_nan=False, default=str)
        self._print(self.out, line)

    def _print(self, stream: TextIO, line: str) -> None:
        encoding = stream.encoding or "utf-8"
        with self._lock:
            stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            stream.flush()


def _printable(text: str) -> str:
    """Escape line breaks and terminal sequences, which a photo's name can contain."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _json_value(value: object) -> object:
    """Return `value` for strict JSON: NaN and infinities as text, and keys as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return value
