"""The rendered overlays satisfy the schemas of Kubernetes and Karpenter."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from scripts.cloud.manifests import K8S
from tests.support.karpenter import node_pool_faults
from tests.support.schemas import NODE_CLASS, STAGES, core_faults, faults, of_kind, rendered

Objects = list[dict[str, Any]]
FILES = sorted(file for folder in ("base", "overlays") for file in (K8S / folder).rglob("*.yaml"))


def object_faults(manifest: dict[str, Any]) -> list[str]:
    if manifest["kind"] == "NodeClass":
        return faults(manifest, NODE_CLASS)
    return node_pool_faults(manifest) if manifest["kind"] == "NodePool" else core_faults(manifest)


def name(manifest: dict[str, Any]) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_object_has_its_schema(stage: str) -> None:
    objects = rendered(stage)
    assert [(name(manifest), object_faults(manifest)) for manifest in objects] == [
        (name(manifest), []) for manifest in objects
    ]


def pool(objects: Objects) -> dict[str, Any]:
    spec: dict[str, Any] = of_kind(objects, "NodePool")["drivers"]["spec"]
    return spec


BROKEN: dict[str, Callable[[Objects], Any]] = {
    "a selector misspelt": lambda all_: of_kind(all_, "NetworkPolicy")["allow-driver"]["spec"].update(
        podSelectors={}
    ),
    "a pool with a field misspelt": lambda all_: pool(all_).update(limit={}),
    "a node class without a key": lambda all_: of_kind(all_, "NodeClass")["fruits"]["spec"][
        "ephemeralStorage"
    ].update(kmsKeyID=""),
    "a pool without a node class": lambda all_: pool(all_)["template"]["spec"].pop("nodeClassRef"),
    "a requirement without values": lambda all_: pool(all_)["template"]["spec"]["requirements"][0].update(
        values=[]
    ),
    "a label of Karpenter's domain": lambda all_: pool(all_)["template"]["metadata"]["labels"].update(
        {"karpenter.sh/pool": "drivers"}
    ),
}


@pytest.mark.parametrize("slip", BROKEN)
def test_a_slip_is_seen(slip: str) -> None:
    objects = rendered("dev")
    BROKEN[slip](objects)
    assert [fault for manifest in objects for fault in object_faults(manifest)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(K8S)))
def test_a_file_has_one_object_and_is_used(file: Any) -> None:
    (_,) = yaml.safe_load_all(file.read_text())
    if file.name != "kustomization.yaml":
        used = yaml.safe_load((file.parent / "kustomization.yaml").read_text())
        named = [*used["resources"], *(patch["path"] for patch in used.get("patches", []))]
        assert file.name in named


def test_the_stages_have_the_same_objects_and_say_which_they_are() -> None:
    dev, prod = rendered("dev"), rendered("prod")
    assert [name(manifest) for manifest in dev] == [name(manifest) for manifest in prod]
    for stage, objects in (("dev", dev), ("prod", prod)):
        assert {manifest["metadata"]["labels"]["fruits/stage"] for manifest in objects} == {stage}


def test_the_stages_differ_in_sizes_times_and_names_alone() -> None:
    for dev, prod in zip(rendered("dev"), rendered("prod"), strict=True):
        for manifest in (dev, prod):
            del manifest["metadata"]["labels"]["fruits/stage"]
            if manifest["kind"] == "NodePool":
                assert manifest["spec"].pop("limits")["cpu"] != "0"
                del manifest["spec"]["disruption"]["consolidateAfter"]
            if manifest["kind"] == "ResourceQuota":
                assert manifest["spec"].pop("hard")["pods"] != "0"
            if manifest["kind"] == "NodeClass":
                manifest["spec"] = json.loads(json.dumps(manifest["spec"]).replace("prod", "dev"))
        assert dev == prod


def test_the_base_alone_admits_nothing() -> None:
    for file in (K8S / "base").glob("*.yaml"):
        manifest = yaml.safe_load(file.read_text())
        if manifest["kind"] == "ResourceQuota":
            assert manifest["spec"]["hard"] == {"pods": "0"}
        if manifest["kind"] == "NodePool":
            assert manifest["spec"]["limits"] == {"cpu": "0"}


@pytest.mark.parametrize("stage", STAGES)
def test_no_quota_counts_limits_of_cpu(stage: str) -> None:
    for quota in of_kind(rendered(stage), "ResourceQuota").values():
        assert set(quota["spec"]["hard"]) == {"pods", "requests.cpu", "requests.memory", "limits.memory"}
