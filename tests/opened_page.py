"""A report open in a browser, driven as its reader drives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["OpenedPage"]


class OpenedPage:
    """A page, with everything that it complained of.

    Args:
        page: The browser's page.
        path: The file that it shows.
    """

    def __init__(self, page: Any, path: Path) -> None:
        self.page = page
        self.path = path
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", self._interrupted)
        page.on("request", self._asked)

    def _interrupted(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _asked(self, request: Any) -> None:
        if request.url.split("#")[0] not in (self.path.as_uri(), "data:,"):
            self.complaints.append(f"request: {request.url[:200]}")

    def go(self, place: str = "") -> None:
        """Open the file anew at a place of it, and wait until its cases are listed."""
        self.page.goto("about:blank")
        self.page.goto(self.path.as_uri() + place)
        if self.page.evaluate("document.getElementById('filters')?.hidden === false"):
            self.settle()

    def settle(self) -> None:
        """Wait until the list of cases is what the filters ask for."""
        self.page.wait_for_function(
            """() => {
                const status = document.querySelector("#case-list [role=status]");
                const parts = location.hash.slice(1).split("&").filter((part) => !part.startsWith("case="));
                return status && status.dataset.of === "#" + parts.join("&") && !status.dataset.searching;
            }"""
        )

    def choose(self, name: str, value: str) -> None:
        """Choose a filter's value by what it is called."""
        self.page.locator(f"#filters select[name={name}]").select_option(label=value)
        self.settle()

    def search(self, text: str) -> None:
        """Type into the search."""
        self.page.locator("#filters input[name=q]").fill(text)
        self.page.wait_for_function("q => new URLSearchParams(location.hash.slice(1)).get('q') === q", arg=text)
        self.settle()

    def listed(self) -> list[str]:
        """Return the cases of the list, as ``kind name runtime``."""
        rows = self.page.locator(".cases > li > button")
        parts = (".verdict", ".name", ".runtime")
        return [
            " ".join(" ".join(rows.nth(number).locator(part).inner_text().split()) for part in parts)
            for number in range(rows.count())
        ]

    def columns(self) -> list[str]:
        """Return the runtimes that the matrix shows."""
        return [
            each.inner_text().split("\n")[0].strip()
            for each in self.page.locator(".matrix thead th[data-runtime]").all()
            if each.is_visible()
        ]

    def rows(self) -> list[str]:
        """Return the criteria and slices that the matrix shows."""
        found = self.page.locator(".matrix tr[data-criterion]").all()
        return [
            each.get_attribute("data-slice") or each.locator(".label").inner_text()
            for each in found
            if each.is_visible()
        ]

    def shown(self, selector: str) -> str:
        """Return the text of the one element that a selector finds."""
        return " ".join(self.page.locator(selector).inner_text().split())
