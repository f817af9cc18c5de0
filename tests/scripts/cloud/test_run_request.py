"""The request of a run and what fills it, without AWS: sizes, templates, tokens, ACK's resource."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from job.cli.settings import parse_settings
from job.errors import UsageError
from scripts.cloud import manifests, request_check, run_cost, run_request, sizes
from scripts.cloud.run_request import Plan
from scripts.cloud.sizes import SIZES, Size
from scripts.submit import ack

ROOT = Path(__file__).parents[3]
STACK_OUTPUTS = {
    "PhotosBucket": "photos",
    "ResultsBucket": "results",
    "LogsBucket": "logs",
    "KeyArn": "arn:aws:kms:eu-west-1:111122223333:key/1",
    "LogGroup": "/fruits/dev",
    "ExecutionRoleArn": "arn:aws:iam::111122223333:role/fruits-dev-job",
}
IMAGE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/fruits-dev@sha256:" + "0" * 64


def plan(size: Size = SIZES["small"], run_id: str = "monday") -> Plan:
    arguments, _ = run_request.job_arguments((), run_id, "s3://photos/photos/", "s3://results/results/fruits")
    return Plan(run_id, "dev", "eu-west-1", size, "abc0123", IMAGE, STACK_OUTPUTS, arguments)


def spark(request: dict[str, Any]) -> dict[str, str]:
    """Return all Spark settings of a request, as they win."""
    words = request["jobDriver"]["sparkSubmitJobDriver"]["sparkSubmitParameters"].split()
    parameters = dict(word.split("=", 1) for word in words if word != "--conf")
    classes = request["configurationOverrides"]["applicationConfiguration"]
    defaults = next(entry["properties"] for entry in classes if entry["classification"] == "spark-defaults")
    assert not parameters.keys() & defaults.keys(), "a setting stands twice"
    return {**defaults, **parameters}


@pytest.mark.parametrize("size", SIZES.values(), ids=lambda size: size.name)
def test_every_size_makes_a_request_that_emr_takes(size: Size) -> None:
    settings = spark(run_request.request(plan(size)))
    assert settings["spark.dynamicAllocation.maxExecutors"] == str(size.executors)
    assert settings["spark.driver.memory"] == f"{size.driver_heap}g"
    assert settings["spark.kubernetes.executor.request.cores"] == "3600m"
    assert settings["spark.executor.cores"] == "4"


@pytest.mark.parametrize("size", SIZES.values(), ids=lambda size: size.name)
def test_the_job_is_told_the_price_of_an_hour_on_spot_unless_the_user_names_one(size: Size) -> None:
    price = spark(run_request.request(plan(size)))["spark.kubernetes.driverEnv.FRUITS_HOURLY_COST"]
    environment, arguments = {"FRUITS_HOURLY_COST": price}, list(plan(size).arguments)
    assert parse_settings(arguments, environment).hourly_cost == pytest.approx(
        run_cost.hourly(size)[0], abs=5e-4
    )
    assert parse_settings([*arguments, "--hourly-cost", "7"], environment).hourly_cost == 7


def test_sizes_grow_and_each_does_its_photos_within_a_working_day() -> None:
    all_sizes = list(SIZES.values())
    for small, large in pairwise(all_sizes):
        assert small.photos < large.photos
        assert small.cores < large.cores
        assert run_cost.hourly(small) < run_cost.hourly(large)
    photos_per_second = 80  # photos on one core (the README's figures: 161 on two)
    assert all(size.photos / (size.cores * photos_per_second) < 8 * 3600 for size in all_sizes)


def test_nothing_that_emr_does_not_support_is_set() -> None:
    settings = spark(run_request.request(plan()))
    forbidden = {
        "spark.kubernetes.namespace",
        "spark.kubernetes.driver.pod.name",
        "spark.kubernetes.container.image.pullPolicy",
        "spark.kubernetes.authenticate.driver.serviceAccountName",
        "spark.kubernetes.authenticate.executor.serviceAccountName",
    }
    assert not forbidden & settings.keys()
    assert "spark.master" not in settings


def test_the_token_is_the_runs_and_the_clusters() -> None:
    assert plan().client_token == plan(SIZES["large"]).client_token
    assert plan().client_token != plan(run_id="tuesday").client_token
    assert plan().client_token != replace(plan(), virtual_cluster="another").client_token
    assert len(plan().client_token) <= 64


def test_the_release_is_that_of_the_image() -> None:
    text = (ROOT / "docker" / "release.env").read_text()
    number = next(line.split("=")[1] for line in text.splitlines() if line.startswith("EMR_RELEASE="))
    assert run_request.request(plan())["releaseLabel"] == f"emr-{number}-latest"


def test_the_entry_point_and_pythons_are_where_the_image_has_them() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    request = run_request.request(plan())
    entry = request["jobDriver"]["sparkSubmitJobDriver"]["entryPoint"]
    assert entry == "local:///opt/fruits/job/main.py"
    assert "COPY job /opt/fruits/job" in dockerfile
    settings = spark(request)
    for name, value in (
        ("PYSPARK_PYTHON", settings["spark.pyspark.python"]),
        ("PYSPARK_DRIVER_PYTHON", settings["spark.pyspark.driver.python"]),
        ("FRUITS_CACHE", settings["spark.kubernetes.driverEnv.FRUITS_CACHE"]),
    ):
        assert f"{name}={value}" in dockerfile


def test_acks_resource_is_that_of_the_same_request() -> None:
    committed = manifests.load("ack/job-run.yaml")
    template = manifests.load("emr/job-run.yaml")
    assert committed == ack.job_run(template), "write k8s/ack/job-run.yaml anew: python -m scripts.submit.ack"
    overrides = yaml.safe_load(ack.job_run(run_request.request(plan()))["spec"]["configurationOverrides"])
    assert overrides["MonitoringConfiguration"]["S3MonitoringConfiguration"]["LogUri"] == "s3://logs/logs/"
    defaults = overrides["ApplicationConfiguration"][0]
    assert defaults["Classification"] == "spark-defaults"
    assert defaults["Properties"]["spark.decommission.enabled"] == "true"


def test_acks_resource_has_a_name_that_kubernetes_takes() -> None:
    assert (
        ack.job_run(run_request.request(plan(run_id="Monday_2026.11")))["metadata"]["name"]
        == "monday-2026-11"
    )


def test_filling_keeps_the_structure() -> None:
    template = {"a": "x-${One}-${Two}", "b": ["${List}", "c"], "d": 1, "e": "${List}", "f": ["${One}"]}
    filled = manifests.fill(template, {"One": "1: {y}", "Two": "2", "List": ["p", "q"]})
    assert filled == {"a": "x-1: {y}-2", "b": ["p", "q", "c"], "d": 1, "e": ["p", "q"], "f": ["1: {y}"]}
    assert yaml.safe_load(manifests.dump(filled)) == filled


def test_a_value_that_is_missing_is_said() -> None:
    with pytest.raises(UsageError, match="a template asks for Two"):
        manifests.fill("${Two}", {"One": 1})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "a b"}, r"name is 'a b', which does not match"),
        ({"nonsense": 1}, r"Unknown parameter in input: \"nonsense\""),
        (
            {"configurationOverrides": {"applicationConfiguration": [{"classification": "x"}] * 101}},
            r"applicationConfiguration has 101 items",
        ),
    ],
)
def test_a_request_that_emr_would_refuse_is_refused_here(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        request_check.check("emr-containers", "StartJobRun", {**run_request.request(plan()), **change})


def test_the_volumes_that_are_paid_for_are_those_of_the_nodes() -> None:
    volume = manifests.load("base/node-class.yaml")["spec"]["ephemeralStorage"]
    assert volume["size"] == f"{sizes.NODE_VOLUME_GB}Gi"
    assert volume["throughput"] == sizes.NODE_VOLUME_THROUGHPUT
    assert volume["iops"] == 3000  # which gp3 has without a fee


def test_what_a_run_costs_is_the_sum_of_its_parts() -> None:
    spot, on_demand = run_cost.hourly(SIZES["small"])
    executors, others = 2 * 3.6, 2 + 0.9  # the driver and the job-runner
    emr = (executors + others) * 0.01012 + (2 * 4.5 + 4.5 + 0.7) * 0.00111125
    fee = 0.12 * (executors + others) * 0.04788
    volumes = 2 * (80 * 0.088 + 125 * 0.04) / 730  # one for driver and job-runner, one for two executors
    assert on_demand == pytest.approx(emr + fee + volumes + (executors + others) * 0.04788)
    assert spot == pytest.approx(on_demand - executors * 0.04788 * 0.45)
    assert run_cost.estimate_text(SIZES["small"], 1) == run_cost.estimate_text(SIZES["small"], 60)
