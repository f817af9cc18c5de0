"""List the licences of an SBOM's packages, one a line, and of the image's other parts.

Usage: ``licences.py SBOM.json``. A package without a licence is an error.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

# These are no Python packages, so the SBOM does not list them.
OTHER_PARTS: Final = """\
MobileNetV2's ImageNet weights (Keras Applications): Apache-2.0
The base image (Amazon Linux 2023, Spark, Hadoop, a JDK): see Amazon's terms and /usr/lib/spark/licenses
"""
# The licences of packages whose metadata has none, as their repositories state them.
MISSING_LICENCES: Final = {"keras": "Apache-2.0", "namex": "Apache-2.0", "protobuf": "BSD-3-Clause"}
MAX_LENGTH: Final = 70  # some packages give the whole text as the licence's name


def licences(component: dict[str, Any]) -> str:
    """Return a component's licences as an expression, identifiers or names; empty if there are none."""
    names: list[str] = []
    for entry in component.get("licenses", []):
        licence = entry.get("license", {})
        text = entry.get("expression") or licence.get("id") or licence.get("name") or ""
        # A Trove classifier ends in the licence's name, and a whole text begins with it.
        lines = text.rsplit(" :: ", 1)[-1].strip().splitlines()
        if lines and lines[0][:MAX_LENGTH] not in names:
            names.append(lines[0][:MAX_LENGTH])
    return ", ".join(names) or MISSING_LICENCES.get(component["name"].lower(), "")


def main(file: Path) -> int:
    """Print the list; return 1 if a package has no licence."""
    components = json.loads(file.read_text())["components"]
    rows = sorted((entry["name"].lower(), entry.get("version", "?"), licences(entry)) for entry in components)
    for name, version, licence in rows:
        print(f"{name} {version}: {licence}")
    print(OTHER_PARTS, end="")
    unknown = [name for name, _, licence in rows if not licence]
    if unknown:
        print(f"licences.py: no licence is stated by {', '.join(unknown)}", file=sys.stderr)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
