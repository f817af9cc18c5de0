"""A real API server, with Karpenter's definitions and rules, takes the rendered overlays as they are."""

import json
from typing import Any, Final

import pytest
import yaml

from scripts.cloud.manifests import K8S
from tests.support.kubernetes import Api, in_namespace
from tests.support.schemas import STAGES, of_kind, rendered

Objects = list[dict[str, Any]]
FILES = sorted(file for folder in ("base", "overlays") for file in (K8S / folder).rglob("*.yaml"))


def name(manifest: dict[str, Any]) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


SERVER_SIDE: Final = ("--server-side", "--field-manager=fruits", "-k")


@pytest.mark.parametrize("stage", STAGES)
def test_an_api_server_takes_an_overlay_and_then_differs_in_nothing(kubernetes: Api, stage: str) -> None:
    (other,) = {*STAGES} - {stage}
    applied = kubernetes.run("apply", *SERVER_SIDE, str(K8S / "overlays" / stage))
    assert (applied.returncode, applied.stderr) == (0, "")
    assert len(applied.stdout.splitlines()) == len(rendered(stage))
    difference = kubernetes.run("diff", *SERVER_SIDE, str(K8S / "overlays" / stage))
    assert (difference.returncode, difference.stdout, difference.stderr) == (0, "", "")
    assert kubernetes.run("diff", *SERVER_SIDE, str(K8S / "overlays" / other)).returncode == 1


POOL: Final = ("NodePool", "drivers")
NODE_CLASS: Final = ("NodeClass", "fruits")
FIRST_PORT: Final = ("spec", "egress", 0, "ports", 0, "port")
FIRST_VALUES: Final = ("spec", "template", "spec", "requirements", 0, "values")
S3_BLOCK: Final = ("spec", "egress", 2, "to", 0, "ipBlock", "cidr")
ENFORCED: Final = ("metadata", "labels", "pod-security.kubernetes.io/enforce")
NODE_LABEL: Final = ("spec", "template", "metadata", "labels", "karpenter.sh/pool")
# An object, the place and value of a slip in it, and the words of the API server's refusal.
SLIPS: Final[tuple[tuple[tuple[str, str], tuple[str | int, ...], Any, str], ...]] = (
    (("NetworkPolicy", "allow-driver"), ("spec", "podSelectors"), {}, ".podSelectors: field not declared"),
    (("NetworkPolicy", "allow-driver"), FIRST_PORT, 70790, "must be between 1 and 65535"),
    (("NetworkPolicy", "allow-aws"), S3_BLOCK, "52.0.0.0/8", "must be a strict subset of `cidr`"),
    (("ResourceQuota", "drivers"), ("spec", "hard", "pods"), "ten", "quantities must match"),
    (("Namespace", "fruits"), ENFORCED, "base", "must be one of privileged, baseline, restricted"),
    (NODE_CLASS, ("spec", "ephemeralStorage", "kmsKeyID"), "", "should be at least 1 chars long"),
    (NODE_CLASS, ("spec", "roles"), [], ".spec.roles: field not declared"),
    (POOL, ("spec", "limit"), {}, ".spec.limit: field not declared"),
    (POOL, ("spec", "template", "spec", "nodeClassRef", "name"), "", "name may not be empty"),
    (POOL, FIRST_VALUES, [], "requirements with operator 'In' must have a value defined"),
    (POOL, NODE_LABEL, "drivers", 'label domain "karpenter.sh" is restricted'),
)


@pytest.mark.parametrize(("of", "place", "value", "reason"), SLIPS, ids=lambda part: str(part)[:60])
def test_a_slip_is_refused(
    kubernetes: Api, of: tuple[str, str], place: tuple[str | int, ...], value: Any, reason: str
) -> None:
    kind, name = of
    manifest = in_namespace(of_kind(rendered("dev"), kind)[name], "default")
    assert kubernetes.apply([manifest], "--dry-run=server").refusals == []
    around: Any = manifest
    for key in place[:-1]:
        around = around[key]
    around[place[-1]] = value
    (refusal,) = kubernetes.apply([manifest], "--dry-run=server").refusals
    assert reason in refusal


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
