"""The cluster's configuration: eksctl accepts it, and it has what the rest of k8s/ relies on."""

from ipaddress import ip_network
from typing import Any

import pytest
import yaml

from scripts.cloud import manifests
from tests.support.eksctl import CLUSTER_CONFIG
from tests.support.schemas import KUBERNETES, STAGES, faults, of_kind, rendered

Config = dict[str, Any]
VALUES = {
    "Stage": "dev",
    "Cluster": "fruits-dev",
    "VpcId": "vpc-0123456789abcdef0",
    "PrivateSubnetA": "subnet-0123456789abcdefa",
    "PrivateSubnetB": "subnet-0123456789abcdefb",
    "PrivateSubnetC": "subnet-0123456789abcdefc",
    "PublicAccess": ["198.51.100.0/24"],
    "NodeRoleArn": "arn:aws:iam::111122223333:role/fruits-dev-node",
    "KeyArn": "arn:aws:kms:eu-west-1:111122223333:key/2f6b9c1e-0000-4000-8000-000000000000",
}


@pytest.fixture
def config() -> Config:
    """Return the configuration as eksctl receives it."""
    written = manifests.dump(manifests.fill(manifests.load("cluster.yaml"), VALUES))
    read: Config = yaml.safe_load(written)
    return read


def test_eksctl_takes_it(config: Config) -> None:
    assert faults(config, CLUSTER_CONFIG) == []
    assert "${" not in manifests.dump(config)


def test_eksctl_would_refuse_a_slip(config: Config) -> None:
    config["autoModeConfig"]["nodepools"] = config["autoModeConfig"].pop("nodePools")
    config["metadata"]["version"] = 1.35
    assert len(faults(config, CLUSTER_CONFIG)) == 2


def test_the_cluster_is_in_the_eu_private_and_encrypted(config: Config) -> None:
    assert config["metadata"]["region"] == "eu-west-1"
    assert set(config["vpc"]["subnets"]) == {"private"}
    assert config["vpc"]["clusterEndpoints"]["privateAccess"] is True
    assert config["vpc"]["publicAccessCIDRs"] == ["198.51.100.0/24"]
    assert config["secretsEncryption"]["keyARN"] == VALUES["KeyArn"]
    assert {"audit", "authenticator"} <= set(config["cloudWatch"]["clusterLogging"]["enableTypes"])


def test_emr_can_make_its_access_entry_and_the_role_can_be_trusted(config: Config) -> None:
    assert config["accessConfig"]["authenticationMode"] == "API_AND_CONFIG_MAP"
    assert config["iam"]["withOIDC"] is True


def test_at_rest_there_is_no_node(config: Config) -> None:
    # eksctl takes a role only with a built-in pool; the project's pods cannot use `system`.
    role = VALUES["NodeRoleArn"]
    assert config["autoModeConfig"] == {"enabled": True, "nodePools": ["system"], "nodeRoleARN": role}
    assert config["addonsConfig"]["disableDefaultAddons"] is True, "metrics-server would keep a node"


@pytest.mark.parametrize("stage", STAGES)
def test_one_version_of_kubernetes_stands_everywhere(config: Config, stage: str) -> None:
    assert config["metadata"]["version"] == KUBERNETES
    assert config["upgradePolicy"]["supportType"] == "STANDARD", "an old version is upgraded, and not billed"
    labels = of_kind(rendered(stage), "Namespace")["fruits"]["metadata"]["labels"]
    assert {value for key, value in labels.items() if key.endswith("-version")} == {f"v{KUBERNETES}"}


def test_the_services_addresses_are_not_the_networks(config: Config) -> None:
    services = ip_network(config["kubernetesNetworkConfig"]["serviceIPv4CIDR"])
    assert services.is_private
    assert not services.overlaps(ip_network("10.20.0.0/16"))


def test_the_pools_use_the_zones_that_have_subnets(config: Config) -> None:
    for pool in of_kind(rendered("prod"), "NodePool").values():
        (zones,) = [
            set(requirement["values"])
            for requirement in pool["spec"]["template"]["spec"]["requirements"]
            if requirement["key"] == "topology.kubernetes.io/zone"
        ]
        assert zones == set(config["vpc"]["subnets"]["private"])
