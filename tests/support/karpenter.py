"""Karpenter's schema of NodePools, from its Go module, with its rules in CEL."""

import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

import pytest
import yaml

from tests.support.schemas import TAGS, TEXT, closed, faults

# Auto Mode's own version of Karpenter is not published; this is a recent release of the project.
KARPENTER: Final = ("sigs.k8s.io/karpenter", "v1.13.0", "h1:7/ZergHciATEZ/hubSe9S2fB4iYWcRZqrWIItupUjVM=")
NODE_POOLS: Final = "pkg/apis/crds/karpenter.sh_nodepools.yaml"


def _ours(key: str) -> bool:
    allowed = ("karpenter.sh/capacity-type", "karpenter.sh/nodepool")
    return key in allowed or not re.match("^([^/]+)", key)[0].endswith("karpenter.sh")  # type: ignore[index]


Rule = Callable[[Any], bool]
# The schema's CEL rules, in Python. Rules that compare with an older object (oldSelf) concern updates and are
# left out. A rule that is missing here fails `rules`.
RULES: Final[dict[str, Rule]] = {
    "self.all(x, has(x.schedule) == has(x.duration))": lambda self: all(
        ("schedule" in x) == ("duration" in x) for x in self
    ),
    'self.all(x, x in ["karpenter.sh/capacity-type", "karpenter.sh/nodepool"]'
    ' || !x.find("^([^/]+)").endsWith("karpenter.sh"))': lambda self: all(map(_ours, self)),
    'self in ["karpenter.sh/capacity-type", "karpenter.sh/nodepool"]'
    ' || !self.find("^([^/]+)").endsWith("karpenter.sh")': _ours,
    'self.all(x, x != "karpenter.sh/nodepool")': lambda self: "karpenter.sh/nodepool" not in self,
    'self != "karpenter.sh/nodepool"': lambda self: bool(self != "karpenter.sh/nodepool"),
    'self.all(x, x != "kubernetes.io/hostname")': lambda self: "kubernetes.io/hostname" not in self,
    'self != "kubernetes.io/hostname"': lambda self: bool(self != "kubernetes.io/hostname"),
    "self != ''": lambda self: bool(self != ""),
    "self.all(x, x.operator == 'In' ? x.values.size() != 0 : true)": lambda self: all(
        x.get("values") for x in self if x["operator"] == "In"
    ),
    "self.all(x, (x.operator == 'Gt' || x.operator == 'Lt' || x.operator == 'Gte' || x.operator == 'Lte')"
    " ? (x.values.size() == 1 && int(x.values[0]) >= 0) : true)": lambda self: all(
        len(x["values"]) == 1 and x["values"][0].isdecimal()
        for x in self
        if x["operator"] in ("Gt", "Lt", "Gte", "Lte")
    ),
    "self.all(x, (x.operator == 'In' && has(x.minValues))"
    " ? x.values.size() >= x.minValues : true)": lambda self: all(
        len(x["values"]) >= x.get("minValues", 0) for x in self if x["operator"] == "In"
    ),
    "!has(self.replicas) || (!has(self.limits) || size(self.limits) == 0"
    " || (size(self.limits) == 1 && 'nodes' in self.limits))": lambda self: (
        "replicas" not in self or set(self.get("limits", ())) <= {"nodes"}
    ),
    "!has(self.replicas) || !has(self.weight)": lambda self: "replicas" not in self or "weight" not in self,
}


def node_pool_faults(pool: dict[str, Any]) -> list[str]:
    """Return the ways in which a NodePool violates Karpenter's schema and rules."""
    schema = node_pool_schema()
    return [*faults(pool, strict(schema)), *rules(pool, schema)]


@cache
def node_pool_schema() -> dict[str, Any]:
    """Fetch Karpenter's module, check its checksum, and return its schema of NodePools."""
    module, version, checksum = KARPENTER
    if shutil.which("go") is None:
        assert os.environ.get("CI") != "true", "Karpenter's schema comes as a Go module: install Go"
        pytest.skip("Karpenter's schema comes as a Go module, and there is no go")
    # The checksum stands above, so no checksum database is asked.
    environment = {**os.environ, "GONOSUMDB": "*", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    command = ["go", "mod", "download", "-json", f"{module}@{version}"]
    download = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300, env=environment, cwd="/"
    )
    module_info = json.loads(download.stdout or "{}")
    assert "Zip" in module_info, module_info.get("Error") or download.stderr
    assert module_info["Sum"] == checksum, f"{module}@{version} is not what it was"
    with zipfile.ZipFile(module_info["Zip"]) as archive:
        definition = yaml.safe_load(archive.read(f"{module}@{version}/{NODE_POOLS}"))
    (served,) = [version for version in definition["spec"]["versions"] if version["name"] == "v1"]
    schema: dict[str, Any] = served["schema"]["openAPIV3Schema"]
    return schema


def strict(schema: Any) -> Any:
    """Turn a custom resource's schema into JSON schema, in which an unknown field is a fault."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    turned = {key: strict(value) for key, value in schema.items()}
    if turned.get("x-kubernetes-int-or-string"):
        turned.pop("type", None)
    open_ended = turned.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in turned
    if isinstance(turned.get("properties"), dict) and turned.get("type") == "object" and not open_ended:
        turned["additionalProperties"] = False
    # The definition leaves metadata to Kubernetes.
    if "apiVersion" in turned.get("properties", {}):
        turned["properties"]["metadata"] = closed("name", name=TEXT, labels=TAGS, annotations=TAGS)
    return turned


def rules(instance: Any, schema: dict[str, Any], where: str = "$") -> Iterator[str]:
    """Yield the messages of a schema's rules that an instance breaks."""
    for validation in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" not in validation["rule"] and not RULES[validation["rule"]](instance):
            yield f"{where}: {validation['message']}"
    if isinstance(instance, dict):
        for name, below in schema.get("properties", {}).items():
            if name in instance:
                yield from rules(instance[name], below, f"{where}.{name}")
    if isinstance(instance, list) and "items" in schema:
        for index, item in enumerate(instance):
            yield from rules(item, schema["items"], f"{where}[{index}]")
