"""The templates in k8s/: YAML whose strings hold ``${Name}``, filled in by cluster.sh and submit.sh.

YAML is read first and filled after, so no value can change the structure.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from job.errors import UsageError

K8S: Final = Path(__file__).resolve().parents[2] / "k8s"
PLACE: Final = re.compile(r"\$\{([A-Za-z][A-Za-z0-9]*)\}")


def load(name: str) -> Any:
    """Read a file of k8s/ as it stands, for example ``emr/job-run.yaml``."""
    return yaml.safe_load((K8S / name).read_text(encoding="utf-8"))


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """Put values where a template names them.

    Parameters
    ----------
    template : YAML value
        Mappings, lists and strings; a string that is nothing but one ``${Name}`` may become anything, a list
        too; a list's item that becomes a list is spread.
    values : mapping
        The values by name.

    Raises
    ------
    UsageError
        If a name has no value.
    """
    if isinstance(template, Mapping):
        return {key: fill(value, values) for key, value in template.items()}
    if isinstance(template, list):
        filled: list[Any] = []
        for item in template:
            value = fill(item, values)
            filled += value if isinstance(value, list) and isinstance(item, str) else [value]
        return filled
    if not isinstance(template, str):
        return template
    if whole := PLACE.fullmatch(template):
        return _value(values, whole[1])
    return PLACE.sub(lambda match: str(_value(values, match[1])), template)


def dump(value: Any) -> str:
    """Write YAML, in the order of the template; a text of several lines stays one."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def _value(values: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        raise UsageError(f"a template asks for {name}, and nothing says what that is")
    return values[name]
