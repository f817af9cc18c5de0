"""The manifests in k8s/ as kustomize renders them, and a strict schema of ACK's resource."""

import subprocess
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator

from scripts.cloud.manifests import K8S

STAGES: Final = ("dev", "prod")
# The cluster's version, as in k8s/cluster.yaml.
KUBERNETES: Final = "1.35"
# The lock file's kubectl, not the machine's.
KUBECTL: Final = Path(sys.executable).with_name("kubectl")
# ACK's VirtualCluster, spec and below. Source: aws-controllers-k8s/emrcontainers-controller,
# config/crd/bases/emrcontainers.services.k8s.aws_virtualclusters.yaml.
TEXT: Final = {"type": "string"}
TAGS: Final = {"type": "object", "additionalProperties": TEXT}


def closed(required: str = "", **properties: Any) -> dict[str, Any]:
    """Return the schema of an object that has these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": required.split(),
    }


ACK_VIRTUAL_CLUSTER: Final = closed(
    "apiVersion kind metadata spec",
    apiVersion={"const": "emrcontainers.services.k8s.aws/v1alpha1"},
    kind={"const": "VirtualCluster"},
    metadata=closed("name", name=TEXT, namespace=TEXT, annotations=TAGS, labels=TAGS),
    spec=closed(
        "containerProvider name",
        name=TEXT,
        tags=TAGS,
        containerProvider=closed(
            id=TEXT, type_={"enum": ["EKS"]}, info=closed(eksInfo=closed(namespace=TEXT))
        ),
    ),
)


@cache
def _rendered(folder: Path) -> list[dict[str, Any]]:
    # kubectl contains kustomize, and needs no network for it.
    text = subprocess.run(
        [KUBECTL, "kustomize", folder], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    return list(yaml.safe_load_all(text))


def rendered(stage: str) -> list[dict[str, Any]]:
    """Return the objects of a stage's overlay."""
    return deepcopy(_rendered(K8S / "overlays" / stage))


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a kind, by name."""
    return {manifest["metadata"]["name"]: manifest for manifest in objects if manifest["kind"] == kind}


def faults(instance: Any, schema: Any) -> list[str]:
    """Return the ways in which an instance violates a JSON schema."""
    errors = Draft202012Validator(schema).iter_errors(instance)
    return [f"{error.json_path}: {error.message}" for error in errors]
