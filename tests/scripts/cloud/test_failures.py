"""The advice for a run on a cluster without EMR; tests/scripts/submit/test_failures.py has that on EMR."""

import pytest

from scripts.cloud import failures
from scripts.cloud.failures import ADVICE, NOTHING_WRITTEN, UNKNOWN_CAUSE
from scripts.kubernetes.directions import ClusterDirections

DIRECTIONS = ClusterDirections("kubectl --context kind", "monday")
# What a cluster without EMR has not: stages, their commands and sizes, AWS's registry and log buckets.
OF_EMR = (
    "{stage}",
    "EMR",
    "ECR",
    "EC2",
    "cluster.sh",
    "submit.sh",
    "--size",
    "logs bucket",
    "the job's role",
)


@pytest.mark.parametrize(
    "entry", [*ADVICE, NOTHING_WRITTEN, UNKNOWN_CAUSE], ids=lambda entry: entry.remedy[:40]
)
def test_advice_without_emr_names_nothing_of_emr(entry: failures.Advice) -> None:
    remedy = DIRECTIONS.remedy(entry)
    assert not [word for word in OF_EMR if word in remedy]


def test_where_nodes_may_be_missing_the_commands_are_named() -> None:
    advice = failures.advice(["0/2 nodes are available: 2 Insufficient cpu."], True, DIRECTIONS)
    assert advice == f"no node has room for a pod: fewer --executors, or larger nodes; {DIRECTIONS.text}"
    assert "kubectl --context kind -n fruits describe pods -l fruits/run=monday" in DIRECTIONS.text
    assert failures.advice(["something else"], True, DIRECTIONS) == "the driver's own last words say why"


def test_a_pod_that_is_gone_is_started_again() -> None:
    advice = failures.advice(["the driver's pod was deleted"], False, DIRECTIONS)
    assert "start the run again on the same output" in advice
    assert failures.known("nothing that has a sign") is None
