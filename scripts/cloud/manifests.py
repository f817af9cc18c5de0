"""The templates in k8s/: YAML with placeholders ``${Name}`` in its strings, which the commands fill in.

The YAML is parsed before it is filled in, so no value can change its structure.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from job.errors import UsageError

K8S: Final = Path(__file__).resolve().parents[2] / "k8s"
PLACEHOLDER: Final = re.compile(r"\$\{([A-Za-z][A-Za-z0-9]*)\}")


def load(name: str) -> Any:
    """Read a file of k8s/ with its placeholders, for example ``emr/job-run.yaml``."""
    return yaml.safe_load((K8S / name).read_text(encoding="utf-8"))


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """Return a template with its placeholders replaced by values.

    Parameters
    ----------
    template : YAML value
        Mappings, lists and strings. A value of any type may replace a string that consists of one
        placeholder. A list that replaces an item of a list is spread into it.
    values : mapping
        The values by name.

    Raises
    ------
    UsageError
        If a placeholder has no value.
    """
    if isinstance(template, Mapping):
        return {key: fill(value, values) for key, value in template.items()}
    if isinstance(template, list):
        items: list[Any] = []
        for item in template:
            value = fill(item, values)
            items += value if isinstance(value, list) and isinstance(item, str) else [value]
        return items
    if not isinstance(template, str):
        return template
    if match := PLACEHOLDER.fullmatch(template):
        return _value(values, match[1])
    return PLACEHOLDER.sub(lambda match: str(_value(values, match[1])), template)


def dump(value: Any) -> str:
    """Return a value as YAML: mappings keep their order, and text of several lines becomes a block."""
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
