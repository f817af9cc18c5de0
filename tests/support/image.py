"""The image that the tests look at: built once, on the stand-in for EMR's base."""

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
    """Have a Docker engine, and return its version; without one, its tests are skipped, but never in CI."""
    with ExitStack() as stack:
        try:
            stack.enter_context(engines.running())
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
    """Return the name of the image that build-image.sh has built."""
    assert f"image   {NAME}:" in built
    return f"{NAME}:latest"


def build(root: Path, name: str, base: str, *options: str) -> str:
    """Run a checkout's build-image.sh on a base; the build itself needs the network of the machine."""
    script = str(root / "scripts" / "build-image.sh")
    command = [script, "--base", base, "--name", name, "--no-check", *options]
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(
        [*command, "--", "--network", "host"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout
