"""Points the AWS clients of this process at the small S3 server; their waits take no time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any, Final

import pytest
from botocore.loaders import JSONFileLoader

from job.storage import aws, retries
from job.storage.retries import RetryPolicy
from scripts.s3_server.__main__ import running
from scripts.s3_server.faults import Faults
from scripts.s3_server.server import Server

BUCKET: Final = "photos"
_loader: Any = JSONFileLoader()
# Each of botocore's models is read once, not once for each test's clients.
_load: Final = cache(_loader._load_file)


class Waits:
    """A clock that moves only by waits."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)

    def patience(self, seconds: float = 60) -> RetryPolicy:
        """Return a policy of retries that uses this clock."""
        return RetryPolicy(seconds, wait=self.wait, clock=lambda: sum(self.waited))


@contextmanager
def chaos(
    environment: pytest.MonkeyPatch,
    *,
    silence: float = 1,
    faults: Faults | None = None,
    patience: RetryPolicy | None = None,
) -> Iterator[Server]:
    """Run the server with an empty bucket, ``photos``.

    Parameters
    ----------
    environment : MonkeyPatch
        The fixture ``aws_environment``.
    silence : float
        The seconds without a byte after which a client gives up; every other wait takes no time.
    faults : Faults
        Random faults.
    patience : RetryPolicy
        The policy of reads and writes.
    """
    with running(buckets=(BUCKET,), faults=faults) as server:
        environment.setenv("AWS_ENDPOINT_URL", server.url)
        for name in ("READ_SECONDS", "WRITE_SECONDS", "LISTING_SECONDS"):
            environment.setattr(aws, name, silence)
        environment.setattr(retries, "RETRY_POLICY", patience or Waits().patience())
        environment.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None, time=time.time))
        environment.setattr(JSONFileLoader, "_load_file", lambda _, *words: _load(*words))
        yield server
