"""Reads the output of a run's driver from CloudWatch.

EMR's sidecar writes each container's output to a stream of the log group:
``<prefix>/<virtual cluster>/jobs/<run>/containers/<application>/<pod>/(stdout|stderr)``. A restarted driver
writes to a new stream.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

# EMR names a driver's pod spark-<run>-driver.
DRIVER: Final = "-driver"


@dataclass
class DriverLog:
    """The log streams of one run's drivers, and how far each was read; ``page`` is events a request."""

    logs: "CloudWatchLogsClient"
    group: str
    prefix: str
    page: int = 10_000
    _read: dict[str, str] = field(default_factory=dict)

    def new_lines(self) -> Iterator[list[str]]:
        """Yield the lines that the drivers have written to stdout since the last call, page by page.

        A page that was yielded is not read again, even if a later one fails.

        Raises
        ------
        ClientError
            If CloudWatch refuses; missing streams are no error, since they appear later.
        """
        for stream in self._streams("stdout"):
            while True:
                before = self._read.get(stream)
                start: Any = {"nextToken": before} if before else {}
                page = self.logs.get_log_events(
                    logGroupName=self.group,
                    logStreamName=stream,
                    startFromHead=True,
                    limit=self.page,
                    **start,
                )
                if page["events"]:
                    yield [event["message"] for event in page["events"]]
                self._read[stream] = page["nextForwardToken"]
                if before == page["nextForwardToken"]:  # an empty page alone does not mean the end
                    break

    def last_lines(self, number: int) -> list[str]:
        """Return the last lines of the last driver's stderr, where Spark and Python write their errors."""
        streams = self._streams("stderr")
        if not streams:
            return []
        page = self.logs.get_log_events(
            logGroupName=self.group, logStreamName=streams[-1], startFromHead=False, limit=number
        )
        return [event["message"].rstrip("\n") for event in page["events"]]

    def _streams(self, name: str) -> list[str]:
        """Return the drivers' streams of a kind, ordered by their first line."""
        streams = []
        pages = self.logs.get_paginator("describe_log_streams").paginate(
            logGroupName=self.group, logStreamNamePrefix=self.prefix
        )
        try:
            for page in pages:
                for stream in page["logStreams"]:
                    path, _, kind = stream["logStreamName"].rpartition("/")
                    if kind.startswith(name) and path.endswith(DRIVER):
                        began = stream.get("firstEventTimestamp", stream.get("creationTime", 0))
                        streams.append((began, stream["logStreamName"]))
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
        return [stream for _, stream in sorted(streams)]


def job_event(line: str) -> dict[str, Any] | None:
    """Return the fields of a line that the job logged; None for any other line of the driver.

    A log agent may have wrapped the line in a record of its own.
    """
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    if fields.keys() >= {"ts", "level", "event"}:
        return fields
    inner = fields.get("log") or fields.get("message")
    return job_event(inner) if isinstance(inner, str) else None
