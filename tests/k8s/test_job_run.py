"""The request for a run: the settings that every run needs, whatever its size."""

from typing import Any

import pytest

from scripts.cloud import manifests
from scripts.cloud.sizes import SIZES
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
