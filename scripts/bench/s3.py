"""The S3 servers of measure (h), S3 with latency, and Spark's own reader of the same photos.

As a script it reads photos with ``spark.read.format("binaryFile")`` through Hadoop's S3A, fetched by Spark:
``python -m scripts.bench.s3 PREFIX BUCKET=URL …`` prints ``{"photos": …, "bytes": …, "seconds": {BUCKET:
…}}``.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scripts.bench.process import PROC, BenchError, last_line, process

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LATENCY_MS: Final = 30.0
PREFIX: Final = "photos"  # of the photos in their bucket
TABLES: Final = "tables"  # an empty bucket, for the outputs
REGION: Final = "eu-west-1"
KEYS: Final = ("testing", "testing")  # the server accepts any
# S3A of the Hadoop in PySpark 3.5.
PACKAGES: Final = "org.apache.hadoop:hadoop-aws:3.3.4,com.amazonaws:aws-java-sdk-bundle:1.12.262"


@dataclass(frozen=True, slots=True)
class Server:
    """A server in its own process; its bucket of photos has the same `name`."""

    name: str
    url: str
    pid: int

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return an environment in which AWS clients use this server and none of the user's settings."""
        return {
            **{name: value for name, value in base.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEYS[0],
            "AWS_SECRET_ACCESS_KEY": KEYS[1],
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }

    def requests(self) -> list[tuple[str, str, str]]:
        """Return method, bucket and key of every request since :meth:`forget_requests`."""
        return [tuple(request) for request in json.loads(self._ask("_requests"))]

    def forget_requests(self) -> None:
        """Clear the list of requests."""
        self._ask("_forget", "POST")

    def cpu_seconds(self) -> float | None:
        """Return the server's CPU time, if the system has ``/proc``; see proc_pid_stat(5)."""
        with suppress(OSError):
            fields = (PROC / str(self.pid) / "stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return None

    def _ask(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(f"{self.url}/{path}", method=method)  # noqa: S310 (ours)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request) as response:
            body: bytes = response.read()
        return body


@contextmanager
def serving(
    name: str, photos: Path, latency_ms: float, scratch: Path, environment: Mapping[str, str]
) -> Iterator[Server]:
    """Serve a folder of photos as ``s3://NAME/photos``, and an empty bucket ``tables``.

    Parameters
    ----------
    name : str
        The bucket's name.
    photos : Path
        The folder, which is only read.
    latency_ms : float
        The wait before the first byte of every answer.
    scratch : Path
        A folder for the server's root, in which a link to the photos is the bucket's prefix.
    environment : mapping
        The environment of the server's process.

    Raises
    ------
    BenchError
        If the server does not start.
    """
    root = scratch / f"s3-{name}"
    (root / name).mkdir(parents=True, exist_ok=True)
    if not (root / name / PREFIX).is_symlink():
        (root / name / PREFIX).symlink_to(photos)
    command = [sys.executable, "-m", "scripts.s3_server", "--root", str(root), "--bucket", TABLES]
    command += ["--latency-ms", str(latency_ms)]
    read_end, write_end = os.pipe()
    with (
        os.fdopen(read_end) as announcement,
        os.fdopen(write_end, "w") as output,
        tempfile.TemporaryFile("w+") as errors,
        process(command, dict(environment), output, errors) as (server, _),
    ):
        output.close()  # this process's copy: reading ends when the server's own copy is closed
        url = announcement.readline().strip()
        if not url:
            errors.seek(0)
            raise BenchError(f"the S3 server did not start: {last_line('', errors.read())}")
        yield Server(name, url, server.pid)


def read(spark: "SparkSession", location: str) -> tuple[int, int, float]:
    """Read all files below a location as ``binaryFile``; return their number, their bytes and the seconds.

    The seconds do not include the listing.
    """
    from pyspark.sql import functions as F  # noqa: N812, PLC0415

    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(location)
    sizes = files.select(F.length("content").alias("size")).agg(F.count("size"), F.sum("size"))
    start = time.monotonic()
    count, size = sizes.collect()[0]
    return count, size or 0, time.monotonic() - start


def start_session(urls: Mapping[str, str]) -> "SparkSession":
    """Start a session with Spark's defaults and an S3A that knows the URL of each bucket."""
    from pyspark.sql import SparkSession  # noqa: PLC0415

    settings: dict[str, Any] = {
        "spark.jars.packages": PACKAGES,
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
        "spark.hadoop.fs.s3a.endpoint.region": REGION,
        "spark.hadoop.fs.s3a.access.key": KEYS[0],
        "spark.hadoop.fs.s3a.secret.key": KEYS[1],
        **{f"spark.hadoop.fs.s3a.bucket.{name}.endpoint": url for name, url in urls.items()},
    }
    spark = SparkSession.builder.config(map=settings).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def main() -> None:
    """Read every bucket in turn and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Time Spark's binaryFile on S3.")
    parser.add_argument("prefix", help="where the photos are in each bucket")
    parser.add_argument("buckets", nargs="+", metavar="BUCKET=URL")
    options = parser.parse_args()
    urls = dict(bucket.split("=", 1) for bucket in options.buckets)
    spark = start_session(urls)
    read(spark, f"s3a://{next(iter(urls))}/{options.prefix}")  # warms up the JVM
    results = {name: read(spark, f"s3a://{name}/{options.prefix}") for name in urls}
    spark.stop()
    photos, size = min((count, size) for count, size, _ in results.values())
    seconds = {name: round(seconds, 3) for name, (_, _, seconds) in results.items()}
    print(json.dumps({"photos": photos, "bytes": size, "seconds": seconds}))


if __name__ == "__main__":
    main()
