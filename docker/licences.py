"""List the licences of an SBOM's packages, one a line, and of the parts that no SBOM names.

Usage: ``licences.py SBOM.json``. A package without a licence is an error: nothing is shipped unread.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

# Not Python packages, so in no SBOM of the Python part.
OTHERS: Final = """\
MobileNetV2's ImageNet weights (Keras Applications): Apache-2.0
The base image (Amazon Linux 2023, Spark, Hadoop, a JDK): see Amazon's terms and /usr/lib/spark/licenses
"""
# What some packages leave out of their metadata; read in their repositories.
KNOWN: Final = {"keras": "Apache-2.0", "namex": "Apache-2.0", "protobuf": "BSD-3-Clause"}
LENGTH: Final = 70  # some packages state their licence's whole text as its name


def licences(component: dict[str, Any]) -> str:
    """Return what a component says of its licence: an expression, identifiers or names; empty if nothing."""
    found = []
    for entry in component.get("licenses", []):
        licence = entry.get("license", {})
        text = entry.get("expression") or licence.get("id") or licence.get("name") or ""
        # Trove classifiers end in the licence's name; a whole text begins with it.
        lines = text.rsplit(" :: ", 1)[-1].strip().splitlines()
        if lines and lines[0][:LENGTH] not in found:
            found.append(lines[0][:LENGTH])
    return ", ".join(found) or KNOWN.get(component["name"].lower(), "")


def main(file: Path) -> int:
    """Print the list; return 1 if a package has no licence."""
    components = json.loads(file.read_text())["components"]
    rows = sorted((entry["name"].lower(), entry.get("version", "?"), licences(entry)) for entry in components)
    for name, version, licence in rows:
        print(f"{name} {version}: {licence}")
    print(OTHERS, end="")
    unknown = [name for name, _, licence in rows if not licence]
    if unknown:
        print(f"licences.py: no licence is stated by {', '.join(unknown)}", file=sys.stderr)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
