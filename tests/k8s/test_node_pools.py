"""The pools of nodes: which nodes they may have, which are never disrupted, and which end when idle."""

import pytest

from scripts.cloud import manifests
from scripts.cloud.stage import Stage
from tests.support.emr_pods import job_runner
from tests.support.node_pools import ON_DEMAND, SPOT, Pool, cpu_counts, pools, requirements
from tests.support.schemas import STAGES, of_kind, rendered
from tests.support.templates import ACCOUNT, NETWORK, Stack

# EKS User Guide, "Create a Node Pool for EKS Auto Mode". It lacks Karpenter's own labels,
# karpenter.k8s.aws/.
AUTO_MODE = {
    "karpenter.sh/capacity-type",
    "kubernetes.io/arch",
    "topology.kubernetes.io/zone",
    "eks.amazonaws.com/instance-category",
    "eks.amazonaws.com/instance-generation",
    "eks.amazonaws.com/instance-cpu",
    "eks.amazonaws.com/instance-local-nvme",
}


def test_the_job_runner_selects_what_its_classification_says() -> None:
    configuration = manifests.load("emr/job-run.yaml")["configurationOverrides"]["applicationConfiguration"]
    (submitter,) = [
        classification["properties"]
        for classification in configuration
        if classification["classification"] == "emr-job-submitter"
    ]
    prefix = "jobsubmitter.node.selector."
    selector = {key.removeprefix(prefix): value for key, value in submitter.items() if key.startswith(prefix)}
    assert selector == job_runner()["spec"]["nodeSelector"]


@pytest.mark.parametrize("stage", STAGES)
def test_drivers_are_on_demand_and_their_nodes_go_only_when_empty(stage: str) -> None:
    pool = pools(stage)["drivers"]
    assert requirements(pool)["karpenter.sh/capacity-type"] == ["on-demand"]
    assert budgets(pool) == {"Empty": "100%", "Drifted": "0", "Underutilized": "0"}
    assert pool["spec"]["disruption"]["consolidationPolicy"] == "WhenEmpty"
    # Auto Mode's own limit is 21 days.
    assert hours(pool["spec"]["template"]["spec"]["expireAfter"]) < 21 * 24


def budgets(pool: Pool) -> dict[str, str]:
    return {
        reason: budget["nodes"]
        for budget in pool["spec"]["disruption"]["budgets"]
        for reason in budget["reasons"]
    }


def hours(text: str) -> float:
    return int(text[:-1]) * {"h": 1, "m": 1 / 60, "s": 1 / 3600}[text[-1]]


@pytest.mark.parametrize("stage", STAGES)
def test_executors_are_on_spot_first_and_on_demand_when_it_has_none(stage: str) -> None:
    spot, on_demand = pools(stage)[SPOT], pools(stage)[ON_DEMAND]
    assert requirements(spot)["karpenter.sh/capacity-type"] == ["spot"]
    assert requirements(on_demand)["karpenter.sh/capacity-type"] == ["on-demand"]
    assert spot["spec"].pop("weight") > on_demand["spec"].pop("weight")
    for pool in (spot, on_demand):
        del pool["metadata"]["name"], pool["spec"]["limits"]
        pool["spec"]["template"]["spec"]["requirements"][0]["values"] = []
    assert spot == on_demand


@pytest.mark.parametrize("stage", STAGES)
def test_executors_nodes_are_many_kinds_and_never_packed_tighter(stage: str) -> None:
    pool = pools(stage)[SPOT]
    values = requirements(pool)
    assert values["eks.amazonaws.com/instance-category"] == ["c", "m", "r"]
    assert len(values["eks.amazonaws.com/instance-cpu"]) >= 3
    assert values["kubernetes.io/arch"] == ["amd64"]
    assert budgets(pool) == {"Empty": "100%", "Drifted": "10%", "Underutilized": "0"}


@pytest.mark.parametrize("stage", STAGES)
def test_idle_nodes_outlive_idle_executors(stage: str) -> None:
    configuration = manifests.load("emr/job-run.yaml")["configurationOverrides"]["applicationConfiguration"]
    (spark,) = [
        classification["properties"]
        for classification in configuration
        if classification["classification"] == "spark-defaults"
    ]
    idle = hours(spark["spark.dynamicAllocation.executorIdleTimeout"])
    for pool in pools(stage).values():
        assert hours(pool["spec"]["disruption"]["consolidateAfter"]) > idle


@pytest.mark.parametrize("stage", STAGES)
def test_all_nodes_have_the_stages_role_network_and_key(stage: str) -> None:
    (node_class,) = of_kind(rendered(stage), "NodeClass").values()
    for pool in pools(stage).values():
        reference = pool["spec"]["template"]["spec"]["nodeClassRef"]
        assert reference == {"group": "eks.amazonaws.com", "kind": "NodeClass", "name": "fruits"}
    spec, account, network = (
        node_class["spec"],
        Stack(ACCOUNT, Stage=stage),
        Stack(NETWORK, Stage=stage, Nat="yes"),
    )
    assert spec["role"] == account.of_type("IAM::Role")["NodeRole"]["RoleName"]
    assert spec["ephemeralStorage"]["kmsKeyID"] == account.of_type("KMS::Alias")["KeyAlias"]["AliasName"]
    (term,) = spec["subnetSelectorTerms"]
    selected = {
        name
        for name, subnet in network.of_type("EC2::Subnet").items()
        if term["tags"].items() <= {tag["Key"]: tag["Value"] for tag in subnet["Tags"]}.items()
    }
    assert selected == {"PrivateSubnetA", "PrivateSubnetB", "PrivateSubnetC"}
    (term,) = spec["securityGroupSelectorTerms"]
    assert term == {"tags": {"aws:eks:cluster-name": Stage(stage).cluster}}


@pytest.mark.parametrize("stage", STAGES)
def test_nodes_are_chosen_by_labels_that_auto_mode_has(stage: str) -> None:
    for pool in pools(stage).values():
        assert set(requirements(pool)) <= AUTO_MODE
        assert requirements(pool)["eks.amazonaws.com/instance-generation"] == ["5"]


@pytest.mark.parametrize("stage", STAGES)
def test_no_node_has_a_disk_that_the_stages_key_does_not_encrypt(stage: str) -> None:
    no_disks = {"key": "eks.amazonaws.com/instance-local-nvme", "operator": "DoesNotExist"}
    for pool in pools(stage).values():
        assert no_disks in pool["spec"]["template"]["spec"]["requirements"]


def test_a_new_accounts_quota_holds_the_smallest_nodes() -> None:
    assert cpu_counts("prod", SPOT)[0] <= 5 and cpu_counts("prod", "drivers")[0] <= 5


@pytest.mark.parametrize("stage", STAGES)
def test_the_pools_can_hold_what_the_quotas_admit(stage: str) -> None:
    quotas = {
        name: quota["spec"]["hard"] for name, quota in of_kind(rendered(stage), "ResourceQuota").items()
    }
    cpu = {name: int(pool["spec"]["limits"]["cpu"]) for name, pool in pools(stage).items()}
    assert cpu[SPOT] == int(quotas["executors"]["pods"]) / 2 * 8
    assert cpu["drivers"] >= 2 * int(quotas["drivers"]["requests.cpu"])
    assert 0 < cpu[ON_DEMAND] < cpu[SPOT]
