"""The request for a run: the settings that every run needs, whatever its size."""

from typing import Any

import pytest

from scripts.cloud import manifests
from scripts.cloud.sizes import SIDECAR_GIB, SIZES
from tests.support.emr_pods import gib
from tests.support.spark_pods import settings


def properties(classification: str) -> dict[str, Any]:
    """Return the properties of a classification in emr/job-run.yaml."""
    configuration = manifests.load("emr/job-run.yaml")["configurationOverrides"]["applicationConfiguration"]
    (entry,) = [entry for entry in configuration if entry["classification"] == classification]
    return dict(entry["properties"])


@pytest.mark.parametrize("size", SIZES)
def test_every_client_of_s3_has_the_stages_region(size: str) -> None:
    spark = settings(size)
    keys = ("hadoop.fs.s3a.endpoint.region", "kubernetes.driverEnv.AWS_REGION", "executorEnv.AWS_REGION")
    assert {properties("spark-defaults").get(f"spark.{key}") for key in keys} == {"${Region}"}
    assert all(f"spark.{key}" in spark for key in keys)


def test_a_log_sidecar_has_awss_memory_and_cannot_end_its_driver() -> None:
    defaults = properties("emr-containers-defaults")
    assert defaults["logging.request.memory"] == gib(SIDECAR_GIB) == "512Mi"
    assert defaults["logging.nativeSidecar"] == "ENABLED"
    major, minor = map(int, manifests.load("cluster.yaml")["metadata"]["version"].split("."))
    assert (major, minor) >= (1, 29), "older nodes would keep the driver from starting"


def test_executors_of_large_runs_have_no_sidecar() -> None:
    assert properties("emr-containers-defaults")["executor.logging"] == "${ExecutorLogging}"
    assert {size.name: size.logs_executors for size in SIZES.values()} == {
        "small": True,
        "medium": True,
        "large": False,
        "xlarge": False,
    }
