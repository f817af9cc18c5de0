"""The image that the tests use: built once, on the stand-in for EMR's base."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.support import engine as engines

ROOT: Final = Path(__file__).parents[2]
NAME: Final = "fruits-test"


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    """Return the version of a Docker engine; without one, skip the test, or fail in CI."""
    with ExitStack() as stack:
        try:
            stack.enter_context(engines.running_engine())
        except engines.NoEngineError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        yield engines.docker("version", "--format", "{{.Server.Version}}")


@pytest.fixture(scope="session")
def base(engine: str) -> str:
    """Build the stand-in for EMR's base image."""
    assert engine
    return engines.emr_base()


@pytest.fixture(scope="session")
def built(base: str) -> str:
    """Run build-image.sh, without its check, and return what it printed."""
    return build(ROOT, NAME, base)


@pytest.fixture(scope="session")
def image(built: str) -> str:
    """Return the name of the image that build-image.sh built."""
    assert f"image   {NAME}:" in built
    return f"{NAME}:latest"


def build(root: Path, name: str, base: str, *options: str) -> str:
    """Run a checkout's build-image.sh on a base, with the machine's network, and return its output."""
    script = str(root / "scripts" / "build-image.sh")
    command = [script, "--base", base, "--name", name, "--no-check", *options]
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull}
    result = subprocess.run(
        [*command, "--", "--network", "host"], capture_output=True, text=True, check=False, env=environment
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout
