"""Daily runs with photos and tables in S3: the server counts the requests."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession

from scripts.bench.s3 import PACKAGES
from tests.support.s3_runs import BUCKET, Job, job_on_s3
from tests.support.spark_session import Run
from tests.support.tables import FEATURIZED, assert_whole, counts, snapshot

pytestmark = pytest.mark.spark

NO_PICTURES = ("--no-report",)  # for which photos are read once more


@pytest.fixture
def job(aws_environment: pytest.MonkeyPatch, spark: SparkSession, run: Run, sample: Path) -> Iterator[Job]:
    with job_on_s3(aws_environment, spark, run, sample) as job:
        yield job


def test_each_run_reads_exactly_the_new_and_changed_photos(job: Job, tmp_path: Path) -> None:
    old = job.put(150)
    assert counts(job.run("--wave", 20, *NO_PICTURES)) == (150, 0, 150, 0, 0)
    assert job.photos_read() == sorted(old), "each is read once"

    new = job.put(50)
    contents = job.server.contents(BUCKET)
    changed, removed, bad = old[:20], old[20:30], [f"{key}.bad.jpg" for key in old[:5]]
    for key, other in zip(changed, new, strict=False):
        job.server.put(BUCKET, key, contents[other])
    for key in bad:
        job.server.put(BUCKET, key, contents[old[0]][:400])
    with job.server.buckets.lock:
        for key in removed:
            job.server.buckets[BUCKET].delete(key)
    assert counts(job.run("--wave", 20, *NO_PICTURES)) == (150 + 50 - 10 + 5, 150 - 20 - 10, 70, 5, 10)
    assert job.photos_read() == sorted([*new, *changed, *bad])
    assert sorted(job.table(FEATURIZED).index) == sorted([*old, *new])
    assert_whole(job.copy(tmp_path))

    run_counts = job.run("--prune", *NO_PICTURES)["counts"]
    assert job.photos_read() == []
    assert (run_counts["unchanged"], run_counts["rejected_before"], run_counts["pruned"]) == (195, 5, 10)
    assert sorted(job.table(FEATURIZED).index) == sorted({*old, *new} - {*removed})


def test_a_run_with_nothing_new_sends_only_the_needed_requests(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("neither network nor Spark is needed")

    job.put(40)
    job.run("--components", 3)
    files = snapshot(f"s3://{BUCKET}/out").files
    monkeypatch.setattr("job.network.backbone.load", fail)
    monkeypatch.setattr("job.run.pipeline.Pipeline.start", fail)
    record = job.run("--components", 3)
    version = record["table_version"]
    model = f"out/models/{record['model']['model_id']}"
    classifier = f"out/models/{record['classifier']['model_id']}"
    log = "out/photos/_delta_log"
    assert Counter(f"{request.method} {request.key}" for request in job.server.requests) == {
        # Lists photos (twice), the log, tasks, the matrix (two folders), records, the two lists of paths
        # (twice), and eight folders to sweep.
        "GET ": 19,
        "GET out/_input.json": 2,  # checks for the earlier layout
        f"GET {log}/_last_checkpoint": 1,
        f"GET {log}/{version - 2:020}.checkpoint.parquet": 1,
        **{f"GET out/photos/{path}": 1 for path in files},  # four columns of each, for the comparison
        "GET out/moments/moments.npz": 1,
        "GET out/models/current.json": 4,
        f"GET {model}/model.json": 1,
        f"GET {model}/pca.npz": 1,
        "GET out/models/current_classifier.json": 4,
        f"GET {classifier}/model.json": 1,
        f"GET {classifier}/classifier.npz": 1,
        "GET out/report.html": 1,  # its start, which tells that it is up to date
        **{f"PUT {log}/{version + step:020}.json": 1 for step in (-1, 0, 1)},  # begin, commit, end
        f"PUT out/runs/{record['run_id']}.json": 1,
        "POST ": 1,  # deletes the tasks
    }


READ_THROUGH_S3A = """
import sys
import numpy as np
from pyspark.ml import PipelineModel
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
url, packages, output = sys.argv[1:4]
spark = (
    SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    .config("spark.jars.packages", packages)
    .config("spark.hadoop.fs.s3a.endpoint", url)
    .config("spark.hadoop.fs.s3a.path.style.access", "true")
    .config("spark.hadoop.fs.s3a.connection.ssl.enabled", "false")
    .getOrCreate()
)
photos = spark.read.parquet(output + "/photos").where("outcome = 'featurized'")
rows = photos.withColumn("features", array_to_vector("features"))
saved = {row["path"]: row for row in spark.read.parquet(output + "/pca").collect()}
model = PipelineModel.load(output + "/models/" + next(iter(saved.values()))["model_id"] + "/spark")
projected = {row["path"]: row["pca"].toArray() for row in model.transform(rows).collect()}
assert projected.keys() == saved.keys()
errors = [float(np.abs(projected[path] - np.array(saved[path]["pca"])).max()) for path in projected]
print(len(projected), max(errors))
"""


@pytest.mark.skipif(not pyspark.__version__.startswith("3.5"), reason="S3A is of one Hadoop, that of 3.5")
def test_plain_spark_reads_tables_and_model_through_hadoops_s3a(job: Job, tmp_path: Path) -> None:
    job.put(20)
    job.run("--components", 4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK")}
    command = [sys.executable, "-c", READ_THROUGH_S3A, job.server.url, PACKAGES, f"s3a://{BUCKET}/out"]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=400,
        env=environment | {"PYSPARK_PYTHON": sys.executable},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    count, error = result.stdout.split()[-2:]
    assert int(count) == 20
    assert float(error) <= 1e-5
