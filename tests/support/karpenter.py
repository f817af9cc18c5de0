"""Karpenter's own schema of NodePools, out of its Go module, with the rules that it has in words."""

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

# Auto Mode runs a Karpenter of AWS's own and does not say which: this is a recent one of the project's.
KARPENTER: Final = ("sigs.k8s.io/karpenter", "v1.13.0", "h1:7/ZergHciATEZ/hubSe9S2fB4iYWcRZqrWIItupUjVM=")
NODE_POOLS: Final = "pkg/apis/crds/karpenter.sh_nodepools.yaml"


def _ours(key: str) -> bool:
    known = ("karpenter.sh/capacity-type", "karpenter.sh/nodepool")
    return key in known or not re.match("^([^/]+)", key)[0].endswith("karpenter.sh")  # type: ignore[index]


Rule = Callable[[Any], bool]
# The rules that Karpenter's schema has in words (CEL), said again; those that compare with an older object
# (oldSelf) concern updates and are left out. A rule that is not here fails `rules`.
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
    """Return what Karpenter's schema and its rules have against a NodePool."""
    schema = node_pool_schema()
    return [*faults(pool, strict(schema)), *rules(pool, schema)]


@cache
def node_pool_schema() -> dict[str, Any]:
    """Fetch Karpenter's module, hold it against its known sum, and return its schema of NodePools."""
    module, version, known = KARPENTER
    if shutil.which("go") is None:
        assert os.environ.get("CI") != "true", "Karpenter's schema comes as a Go module: install Go"
        pytest.skip("Karpenter's schema comes as a Go module, and there is no go")
    # The sum stands above; no other authority need be asked, and no module of ours changed.
    environment = {**os.environ, "GONOSUMDB": "*", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    command = ["go", "mod", "download", "-json", f"{module}@{version}"]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300, env=environment, cwd="/"
    )
    found = json.loads(done.stdout or "{}")
    assert "Zip" in found, found.get("Error") or done.stderr
    assert found["Sum"] == known, f"{module}@{version} is not what it was"
    with zipfile.ZipFile(found["Zip"]) as archive:
        definition = yaml.safe_load(archive.read(f"{module}@{version}/{NODE_POOLS}"))
    (served,) = [one for one in definition["spec"]["versions"] if one["name"] == "v1"]
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
    # What every object may have; the definition leaves it to Kubernetes.
    if "apiVersion" in turned.get("properties", {}):
        turned["properties"]["metadata"] = closed("name", name=TEXT, labels=TAGS, annotations=TAGS)
    return turned


def rules(instance: Any, schema: dict[str, Any], where: str = "$") -> Iterator[str]:
    """Yield the messages of a schema's rules that an instance breaks."""
    for one in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" not in one["rule"] and not RULES[one["rule"]](instance):
            yield f"{where}: {one['message']}"
    if isinstance(instance, dict):
        for name, below in schema.get("properties", {}).items():
            if name in instance:
                yield from rules(instance[name], below, f"{where}.{name}")
    if isinstance(instance, list) and "items" in schema:
        for index, item in enumerate(instance):
            yield from rules(item, schema["items"], f"{where}[{index}]")
