"""A real headless Chromium that opens pages from files, and says what it complained of."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opened_page import OpenedPage

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
HERE = Path(__file__).parent / "browser"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that open pages, and skip them where there is no browser."""
    missing = _missing()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"BROWSER TESTS NOT RUN: {missing}"))


def _chromium() -> str | None:
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


def _missing() -> str | None:
    try:
        import playwright  # noqa: F401  # asked whether it is there
    except ImportError:
        return "playwright is not installed (pip install --group dev .)"
    return None if _chromium() else "no Chromium (on Debian: apt-get install chromium)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Its sandbox needs rights that a container seldom gives.
        browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., OpenedPage]]:
    """Open a file in the browser; at the end no page may have complained or asked a network for anything."""
    opened: list[OpenedPage] = []

    contexts: list[Any] = []

    def open_it(path: Path, place: str = "", **settings: Any) -> OpenedPage:
        settings = {"viewport": {"width": 1280, "height": 900}, **settings}
        context = browser.new_context(**settings)
        contexts.append(context)
        page = OpenedPage(context.new_page(), path)
        opened.append(page)
        page.go(place)
        return page

    yield open_it
    complaints = [complaint for page in opened for complaint in page.complaints]
    for context in contexts:
        context.close()
    assert not complaints
