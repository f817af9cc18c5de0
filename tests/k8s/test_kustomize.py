"""A real API server, with Karpenter's definitions and rules, takes the rendered overlays as they are."""

import json
from collections.abc import Callable
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


def pool(objects: Objects) -> dict[str, Any]:
    spec: dict[str, Any] = of_kind(objects, "NodePool")["drivers"]["spec"]
    return spec


def requirement(objects: Objects) -> dict[str, Any]:
    first: dict[str, Any] = pool(objects)["template"]["spec"]["requirements"][0]
    return first


# What is changed, and the words of the API server's refusal.
BROKEN: dict[str, tuple[Callable[[Objects], Any], str]] = {
    "a selector misspelt": (
        lambda all_: of_kind(all_, "NetworkPolicy")["allow-driver"]["spec"].update(podSelectors={}),
        ".spec.podSelectors: field not declared in schema",
    ),
    "a port that is none": (
        lambda all_: of_kind(all_, "NetworkPolicy")["allow-driver"]["spec"]["egress"][0]["ports"][0].update(
            port=70790
        ),
        "must be between 1 and 65535",
    ),
    "an exception outside of its block": (
        lambda all_: of_kind(all_, "NetworkPolicy")["allow-aws"]["spec"]["egress"][2]["to"][0][
            "ipBlock"
        ].update(cidr="52.0.0.0/8"),
        "must be a strict subset of `cidr`",
    ),
    "a quota that is no quantity": (
        lambda all_: of_kind(all_, "ResourceQuota")["drivers"]["spec"]["hard"].update(pods="ten"),
        "quantities must match the regular expression",
    ),
    "a level of Pod Security misspelt": (
        lambda all_: of_kind(all_, "Namespace")["fruits"]["metadata"]["labels"].update(
            {"pod-security.kubernetes.io/enforce": "base"}
        ),
        "must be one of privileged, baseline, restricted",
    ),
    "a pool with a field misspelt": (
        lambda all_: pool(all_).update(limit={}),
        ".spec.limit: field not declared in schema",
    ),
    "a node class without a key": (
        lambda all_: of_kind(all_, "NodeClass")["fruits"]["spec"]["ephemeralStorage"].update(kmsKeyID=""),
        "spec.ephemeralStorage.kmsKeyID",
    ),
    "a node class with a field misspelt": (
        lambda all_: of_kind(all_, "NodeClass")["fruits"]["spec"].update(roles=[]),
        ".spec.roles: field not declared in schema",
    ),
    "a pool without a node class": (
        lambda all_: pool(all_)["template"]["spec"].pop("nodeClassRef"),
        "spec.template.spec.nodeClassRef: Required value",
    ),
    "a requirement without values": (
        lambda all_: requirement(all_).update(values=[]),
        "requirements with operator 'In' must have a value defined",
    ),
    "a label of Karpenter's domain": (
        lambda all_: pool(all_)["template"]["metadata"]["labels"].update({"karpenter.sh/pool": "drivers"}),
        'label domain "karpenter.sh" is restricted',
    ),
}


@pytest.mark.parametrize(("slip", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_slip_is_seen(kubernetes: Api, slip: Callable[[Objects], Any], reason: str) -> None:
    objects = rendered("dev")
    slip(objects)
    changed = [manifest for manifest in objects if manifest not in rendered("dev")]
    answer = kubernetes.apply([in_namespace(manifest, "default") for manifest in changed], "--dry-run=server")
    assert len(changed) == 1 and reason in "\n".join(answer.refusals)


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
