"""What a run says while it works: sentences for people, or one JSON object a line for CloudWatch.

In text, messages go to stderr, so that stdout holds only the closing summary. In JSON, everything of ours
goes to stdout, where no line of Spark's can fall between two of ours.
"""

import json
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TextIO


@dataclass(slots=True)
class Log:
    """Writes a run's events.

    Parameters
    ----------
    run_id : str
        Stands in every JSON line.
    as_json : bool
        One JSON object a line (``ts, level, event, run_id`` and the event's own fields) instead of text.
    out, err : text streams
        Default to the process's own.
    """

    run_id: str
    as_json: bool = False
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def info(self, event: str, text: str, **fields: object) -> None:
        """Say that something happened; `fields` are the event's figures."""
        self._write("info", event, text, fields)

    def warning(self, event: str, text: str, **fields: object) -> None:
        """Say that something deserves attention; the run goes on."""
        self._write("warning", event, text, fields)

    def error(self, event: str, text: str, **fields: object) -> None:
        """Say why the run ends."""
        self._write("error", event, text, fields)

    def summary(self, text: str, **fields: object) -> None:
        """Close a run: the text on stdout, or the event ``summary`` with its figures."""
        if self.as_json:
            self._write("info", "summary", "", fields)
        else:
            print(text, file=self.out, flush=True)

    def _write(self, level: str, event: str, text: str, fields: dict[str, object]) -> None:
        if self.as_json:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            line: dict[str, object] = {"ts": now, "level": level, "event": event, "run_id": self.run_id}
            if text:
                line["message"] = text
            stream, words = self.out, json.dumps({**line, **fields}, ensure_ascii=False, default=str)
        else:
            stream, words = self.err, text if level == "info" else f"{level}: {text}"
        with self._lock:
            print(words, file=stream, flush=True)
