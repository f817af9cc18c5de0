"""An output with a report, and a real Chromium in which the report is opened."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support import outputs, reports
from tests.support.outputs import Output

OPTIONS: Final = ("--no-sandbox", "--disable-dev-shm-usage")  # as root, and in a container


@pytest.fixture(scope="session")
def _whole_report(tmp_path_factory: pytest.TempPathFactory) -> Output:
    return reports.make(tmp_path_factory.mktemp("report"))


@pytest.fixture
def reported(_whole_report: Output, tmp_path: Path) -> Output:
    """Return an output with a report, which a test may change; its photos stay as they are."""
    return outputs.copied(_whole_report, str(tmp_path / "out"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Start Debian's Chromium."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("needs chromium: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(OPTIONS))
        yield browser
        browser.close()
