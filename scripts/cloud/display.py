"""Prints a run that is followed: its states with their times, the lines of the job, notes and hints."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scripts.cloud.failures import Directions
from scripts.cloud.job_lines import job_event


@dataclass
class Display:
    """Prints a run's events as sentences, or as JSON, one object a line."""

    as_json: bool

    def print_state(self, run: dict[str, Any], seconds: float) -> None:
        """Print a run's new state."""
        details = run.get("stateDetails") or ""
        if self.as_json:
            self._print_object("state", state=run["state"], seconds=round(seconds), details=details)
        else:
            print(f"{utc_time()} {run['state']}  {_elapsed_text(seconds)}  {details}".rstrip(), flush=True)

    def print_line(self, text: str) -> None:
        """Print a line of the driver, if the job logged it."""
        fields = job_event(text)
        if fields is None:
            return
        if self.as_json:
            print(json.dumps(fields), flush=True)
        elif message := fields.get("message"):
            level = "" if fields["level"] == "info" else f"{fields['level']}: "
            print(f"{str(fields['ts'])[11:19]}   {level}{message}", flush=True)

    def print_note(self, text: str, **fields: object) -> None:
        """Print a note of the command itself."""
        if self.as_json:
            self._print_object("note", message=text, **fields)
        else:
            print(text, flush=True)

    def print_hint(self, text: str, directions: Directions) -> None:
        """Print a sentence with the directions to where more can be seen."""
        if self.as_json:
            fields = directions.fields
            self._print_object("hint", message=f"{text}; {directions.instruction}", **fields)
        else:
            print("\n  ".join(f"{text}; {directions.text}".splitlines()), flush=True)

    def _print_object(self, name: str, **fields: object) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        print(json.dumps({"ts": now, "event": name, **fields}), flush=True)


def utc_time() -> str:
    """Return the time in UTC, in the form of the job's own lines."""
    return f"{datetime.now(UTC):%H:%M:%S}"


def _elapsed_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"after {minutes}:{rest:02d}"
