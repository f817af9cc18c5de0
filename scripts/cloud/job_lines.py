"""The lines that the job logs among all that a driver writes."""

import json
from typing import Any


def job_event(line: str) -> dict[str, Any] | None:
    """Return the fields of a line that the job logged; None for any other line of the driver."""
    fields = json_object(line)
    return fields if fields.keys() >= {"ts", "level", "event"} else None


def json_object(line: str) -> dict[str, Any]:
    """Return the JSON object that a line consists of; an empty one for any other line."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
