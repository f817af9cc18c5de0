"""Checks a request against its service's model: lengths, patterns and enumerations, unlike boto3's check."""

import re
from collections.abc import Iterator
from typing import Any

import botocore.session
from botocore.model import Shape
from botocore.validate import ParamValidator

from job.errors import UsageError


def check(service: str, operation: str, request: dict[str, Any]) -> None:
    """Refuse a request that the service would refuse.

    Parameters
    ----------
    service, operation : str
        As botocore names them: ``emr-containers``, ``StartJobRun``.
    request : dict
        The request's members.

    Raises
    ------
    UsageError
        With the first fault and the member that has it.
    """
    model = botocore.session.get_session().get_service_model(service).operation_model(operation)
    shape = model.input_shape
    if shape is None:
        raise UsageError(f"{operation} takes no request")
    report = ParamValidator().validate(request, shape)
    if report.has_errors():
        raise UsageError(f"{operation}: {' '.join(report.generate_report().split())}")
    for fault in faults(request, shape, ""):
        raise UsageError(f"{operation}: {fault}")


def faults(value: Any, shape: Shape, where: str) -> Iterator[str]:
    """Yield the ways in which a value violates its shape."""
    if value is None:
        return
    if shape.type_name == "structure":
        for name, member in shape.members.items():  # type: ignore[attr-defined]
            yield from faults(value.get(name), member, f"{where}.{name}".lstrip("."))
    elif shape.type_name == "list":
        yield from _size_faults(len(value), shape, where, "items")
        for index, item in enumerate(value):
            yield from faults(item, shape.member, f"{where}[{index}]")  # type: ignore[attr-defined]
    elif shape.type_name == "map":
        yield from _size_faults(len(value), shape, where, "items")
        for key, item in value.items():
            yield from faults(key, shape.key, f"the name {key!r} in {where}")  # type: ignore[attr-defined]
            yield from faults(item, shape.value, f"{where}.{key}")  # type: ignore[attr-defined]
    elif shape.type_name == "string":
        yield from _size_faults(len(value), shape, where, "characters")
        yield from _text_faults(value, shape, where)
    elif shape.type_name in ("integer", "long", "float", "double"):
        yield from _size_faults(value, shape, where, "")


def _size_faults(size: float, shape: Shape, where: str, unit: str) -> Iterator[str]:
    minimum, maximum = shape.metadata.get("min"), shape.metadata.get("max")
    if (minimum is not None and size < minimum) or (maximum is not None and size > maximum):
        yield f"{where} has {size} {unit}".rstrip() + f", not {minimum} to {maximum}"


def _text_faults(value: str, shape: Shape, where: str) -> Iterator[str]:
    pattern, names = shape.metadata.get("pattern"), shape.metadata.get("enum")
    if names and value not in names:
        yield f"{where} is {value!r}, not one of {', '.join(names)}"
    if pattern and not re.fullmatch(_python(pattern), value, re.DOTALL):
        yield f"{where} is {value!r}, which does not match {pattern}"


def _python(pattern: str) -> str:
    r"""Return a model's pattern in Python's syntax: without Java's surrogates, and with ``\p`` spelt out."""
    pattern = pattern.replace(r"\uD800\uDBFF-\uDC00\uDFFF", "\U00010000-\U0010ffff")
    pattern = re.sub(r"(\\[wds])-(?!\])", r"\1\-", pattern)  # a hyphen after a class of characters is itself
    return pattern.replace(r"\p{L}", r"^\W\d_").replace(r"\p{Z}", r"\s").replace(r"\p{N}", r"\d")
