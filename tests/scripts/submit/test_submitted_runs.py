"""What is submitted is what runs: the very request that submit.sh sent, by the project's own spark-submit."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest

from tests.support.checked.requests import calls
from tests.support.cloud_stage import CloudStage
from tests.support.keras_network import some
from tests.support.spark_session import CACHE

pytestmark = pytest.mark.spark

ROOT = Path(__file__).parents[3]
# Settings that only mean something where Kubernetes makes the pods, or that need what only a cluster has: the
# place of the image's Python and cache, a second node for executors to come and go, a web page to look at.
KUBERNETES_ONLY = (
    "spark.kubernetes.",
    "spark.dynamicAllocation.",
    "spark.decommission.",
    "spark.storage.decommission.",
    "spark.pyspark.",
    "spark.driver.cores",
    "spark.driver.memoryOverhead",
    "spark.executor.memoryOverhead",
    "spark.ui.prometheus.enabled",
    "spark.executor.processTreeMetrics.enabled",
)
# The image's own paths, and what they are in the checkout.
IMAGE_PATHS = {"local:///opt/fruits/": f"{ROOT}/"}


def spark_settings(request: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the request's Spark settings as spark-submit's words, and the names of those set aside."""
    words = shlex.split(request["jobDriver"]["sparkSubmitJobDriver"]["sparkSubmitParameters"])
    assert set(words[::2]) == {"--conf"}
    classes = request["configurationOverrides"]["applicationConfiguration"]
    settings = dict(
        next(entry["properties"] for entry in classes if entry["classification"] == "spark-defaults")
    )
    settings |= dict(word.split("=", 1) for word in words[1::2])
    kubernetes_only = [name for name in settings if name.startswith(KUBERNETES_ONLY)]
    arguments = [f"--conf={name}={value}" for name, value in settings.items() if name not in kubernetes_only]
    return arguments, kubernetes_only


def spark_submit() -> Path:
    """Return the spark-submit of the PySpark beside the tests."""
    return Path(sys.executable).with_name("spark-submit")


def test_the_request_that_was_sent_runs_on_photos_and_writes_where_it_says(
    dev_stage: CloudStage, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = boto3.client("s3")
    photos = some(sample, 60)
    for photo in photos:
        key = f"photos/{photo.parent.parent.name}/{photo.parent.name}/{photo.name}"
        s3.put_object(Bucket=dev_stage.outputs["PhotosBucket"], Key=key, Body=photo.read_bytes())
    assert dev_stage.submit("--run-id", "monday", "--detach", "--", "--components", "7") == 0
    request = next(call.request for call in calls(tmp_path / "api-calls") if call.operation == "StartJobRun")

    settings, kubernetes_only = spark_settings(request)
    assert kubernetes_only, "KUBERNETES_ONLY names no setting of the request"
    assert {"--conf=spark.executorEnv.AWS_REGION=eu-west-1", "--conf=spark.task.maxFailures=8"} <= {*settings}
    driver = request["jobDriver"]["sparkSubmitJobDriver"]
    entry = driver["entryPoint"]
    for place, here in IMAGE_PATHS.items():
        entry = entry.replace(place, here)
    # The checks of requests are for submit.sh; a worker would also take their folder for a place of modules.
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.delenv("API_CALLS")
    process = subprocess.run(
        [spark_submit(), "--master", "local[2]", *settings, entry, *driver["entryPointArguments"]],
        capture_output=True, text=True, check=False, timeout=400,
        env=os.environ | {"FRUITS_CACHE": str(CACHE), "PYSPARK_PYTHON": sys.executable},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    events = [json.loads(text) for text in process.stdout.splitlines()]
    assert {event["run_id"] for event in events} == {"monday"}
    assert events[-1]["counts"]["featurized"] == len(photos)

    bucket, prefix = dev_stage.outputs["ResultsBucket"], "results/fruits"
    listed = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    keys = [item["Key"] for page in listed for item in page["Contents"]]
    assert f"{prefix}/runs/monday.json" in keys
    for folder, column, width in (("photos/outcome=featurized", "features", 1280), ("pca", "pca", 7)):
        rows = 0
        for key in (
            name for name in keys if name.startswith(f"{prefix}/{folder}/") and name.endswith(".parquet")
        ):
            file = tmp_path / key.replace("/", "-")
            s3.download_file(bucket, key, str(file))
            table = pq.read_table(file)
            rows += len(table)
            assert {len(row) for row in table[column].to_pylist()} == {width}
        assert rows == len(photos)
