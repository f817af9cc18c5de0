"""Reads the output of a run's drivers from CloudWatch.

EMR's sidecar writes each container's output to a stream of the log group:
``<prefix>/<virtual cluster>/jobs/<run>/containers/<application>/<pod>/(stdout|stderr)``. A restarted driver
writes to a new stream.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from scripts.cloud.job_lines import json_object

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

# EMR names a driver's pod spark-<run>-driver, and spark-<run>-driver-<suffix> if the run may be tried again;
# its executors then have the suffix too (EMR on EKS Development Guide, "Using job retry policies").
DRIVER_POD: Final = re.compile(".*-driver(-[a-z0-9]+)?")


@dataclass
class DriverLog:
    """The log streams of one run's drivers, and how far each was read; ``page_size`` is events a request."""

    logs: "CloudWatchLogsClient"
    group: str
    prefix: str
    page_size: int = 10_000
    _next_tokens: dict[str, str] = field(default_factory=dict)

    def new_lines(self) -> Iterator[list[str]]:
        """Yield the lines that the drivers have written to stdout since the last call, page by page.

        A page is yielded once, even if the request for a later one fails.

        Raises
        ------
        ClientError
            If CloudWatch refuses. Streams that are not there yet are no error.
        """
        for stream in self._streams("stdout"):
            while True:
                token = self._next_tokens.get(stream)
                start: Any = {"nextToken": token} if token else {}
                page = self.logs.get_log_events(
                    logGroupName=self.group,
                    logStreamName=stream,
                    startFromHead=True,
                    limit=self.page_size,
                    **start,
                )
                if page["events"]:
                    yield [unwrapped(event["message"]) for event in page["events"]]
                self._next_tokens[stream] = page["nextForwardToken"]
                if token == page["nextForwardToken"]:  # the end; an empty page can have a successor
                    break

    def last_lines(self, number: int) -> list[str]:
        """Return the last lines of the last driver's stderr, where Spark and Python write their errors."""
        streams = self._streams("stderr")
        if not streams:
            return []
        page = self.logs.get_log_events(
            logGroupName=self.group, logStreamName=streams[-1], startFromHead=False, limit=number
        )
        return [unwrapped(event["message"]).rstrip("\n") for event in page["events"]]

    def _streams(self, output: str) -> list[str]:
        """Return the drivers' streams of an output, ``stdout`` or ``stderr``, ordered by their first line."""
        streams = []
        pages = self.logs.get_paginator("describe_log_streams").paginate(
            logGroupName=self.group, logStreamNamePrefix=self.prefix
        )
        try:
            for page in pages:
                for stream in page["logStreams"]:
                    *_, pod, file = ("", *stream["logStreamName"].split("/"))
                    if file.startswith(output) and DRIVER_POD.fullmatch(pod):
                        start = stream.get("firstEventTimestamp", stream.get("creationTime", 0))
                        streams.append((start, stream["logStreamName"]))
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
        return [stream for _, stream in sorted(streams)]


def unwrapped(line: str) -> str:
    """Return the line inside of fluentd's ``{"message": …}`` or ``{"log": …}``; any other line as it is."""
    record = json_object(line)
    text = record.get("log") or record.get("message")
    # A record with a level is of the program itself: the job's own, or Log4j's.
    return unwrapped(text) if isinstance(text, str) and "level" not in record else line
