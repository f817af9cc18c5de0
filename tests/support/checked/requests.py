"""Checks and records botocore's requests, by each service's model with its patterns and enumerations."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from botocore import client as clients

from scripts.cloud.request_check import faults

# The class of all clients, also the AWS CLI's; the method of all operations is not public.
BASE: Any = clients.BaseClient


class Call(NamedTuple):
    """A request: service and operation as botocore names them, and the parameters."""

    service: str
    operation: str
    request: dict[str, Any]


class InvalidRequestError(Exception):
    """A request that the service would refuse."""


@contextmanager
def installed(file: Path) -> Iterator[None]:
    """Check and record this process's requests while the block runs."""
    make_api_call = BASE._make_api_call
    install(str(file))
    try:
        yield
    finally:
        BASE._make_api_call = make_api_call


def install(file: str) -> None:
    """Check this process's requests to AWS from now on, and write them as lines of JSON."""
    make_api_call = BASE._make_api_call

    def call(self: Any, operation_name: str, api_params: dict[str, Any]) -> Any:
        service = self.meta.service_model
        shape = service.operation_model(operation_name).input_shape
        if shape is not None and (mistakes := list(faults(api_params, shape, ""))):
            raise InvalidRequestError(f"{operation_name}: {mistakes}")
        with Path(file).open("a", encoding="utf-8") as log:
            log.write(json.dumps([service.service_name, operation_name, api_params], default=repr) + "\n")
        return make_api_call(self, operation_name, api_params)

    BASE._make_api_call = call


def calls(file: Path) -> list[Call]:
    """Return the recorded requests."""
    if not file.exists():
        return []
    return [Call(*json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
