"""An output with a report, and a real Chromium in which the report is opened."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, ViewportSize, sync_playwright

from tests.support import outputs, reports
from tests.support.outputs import Output
from tests.support.report_pages import DESKTOP, Open

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


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """Return a function that opens an output's report; at the end, check for requests and complaints."""
    pages: list[tuple[Page, list[str]]] = []

    def opened(location: str, size: tuple[int, int] = DESKTOP, **options: Any) -> Page:
        shown = chromium.new_page(viewport=ViewportSize(width=size[0], height=size[1]), **options)
        seen: list[str] = []

        def hear(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                seen.append(message.text)

        def dismiss(dialog: Dialog) -> None:
            seen.append(dialog.message)
            dialog.dismiss()

        shown.on("console", hear)
        shown.on("dialog", dismiss)
        shown.on("pageerror", lambda error: seen.append(str(error)))
        shown.on("request", lambda request: seen.append(request.url))
        shown.goto(Path(location, "report.html").as_uri())
        shown.wait_for_selector("body[data-ready]")
        pages.append((shown, seen))
        return shown

    yield opened
    for shown, seen in pages:
        # A picture's own bytes count as a request, too.
        assert [text for text in seen if not text.startswith("data:image/webp;base64,")] == [shown.url]
        shown.close()
