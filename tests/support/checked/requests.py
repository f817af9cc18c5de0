"""Every request that botocore makes, checked against its service's model, patterns and enumerations too."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from botocore import client as clients

from scripts.cloud.request_check import faults

# The class of all clients, the AWS CLI's too; what every operation goes through is not a public name.
BASE: Any = clients.BaseClient


class Call(NamedTuple):
    """A request: the service and operation as botocore names them, and what it was given."""

    service: str
    operation: str
    request: dict[str, Any]


class InvalidRequestError(Exception):
    """A request that the service would refuse."""


@contextmanager
def installed(file: Path) -> Iterator[None]:
    """Check and write down this process's requests for a while."""
    plain = BASE._make_api_call
    install(str(file))
    try:
        yield
    finally:
        BASE._make_api_call = plain


def install(file: str) -> None:
    """Check and write down, one JSON object a line, what this process asks of AWS from now on."""
    plain = BASE._make_api_call

    def call(self: Any, operation_name: str, api_params: dict[str, Any]) -> Any:
        service = self.meta.service_model
        shape = service.operation_model(operation_name).input_shape
        if shape is not None and (found := list(faults(api_params, shape, ""))):
            raise InvalidRequestError(f"{operation_name}: {found}")
        with Path(file).open("a", encoding="utf-8") as log:
            log.write(json.dumps([service.service_name, operation_name, api_params], default=repr) + "\n")
        return plain(self, operation_name, api_params)

    BASE._make_api_call = call


def calls(file: Path) -> list[Call]:
    """Return the requests that were written down."""
    if not file.exists():
        return []
    return [Call(*json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
