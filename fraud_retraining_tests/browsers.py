"""A real browser for tests: the Chromium or Chrome of the system, headless, driven by Playwright.

The fixture `browser` stands in `browser_fixtures.py`. Playwright's own browsers are never downloaded. Where no browser
is found a test is skipped and says what to install; with `BROWSER_REQUIRED=1`, as in CI, it fails instead.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
REQUIRED = "BROWSER_REQUIRED"
PICTURES = "BROWSER_PICTURES"
"""A folder that pictures of what tests see go to; without it none are taken."""
PATIENCE_MS = 60_000
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HERE = re.compile(r"(http://127\.0\.0\.1:|data:|blob:|file:|about:)")


def executable() -> str:
    """The browser of this system, or a skip that says what to install."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is not None:
        return found
    told = f"no browser is installed: none of {', '.join(NAMES)} is on the path; `apt-get install chromium` brings one"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(told)
    pytest.skip(told)


class Visit:
    """A page of somebody with an empty cache and no cookies, and what it did beyond showing itself."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} ({message.location})")

    def _request(self, request: "Request") -> None:
        if not HERE.match(request.url):
            self.elsewhere.append(request.url)

    def text(self) -> str:
        """What can be read on the page, on one line."""
        return " ".join(self.page.inner_text("body").split())

    def picture(self, name: str, **how: Any) -> None:
        """Takes a picture, where somebody asked for pictures."""
        folder = os.environ.get(PICTURES)
        if folder:
            self.page.screenshot(path=Path(folder) / f"{name}.png", **how)


@contextmanager
def visiting(browser: "Browser", device: dict[str, Any]) -> Iterator[Visit]:
    """A visit with a device of its own, ended afterwards."""
    context = browser.new_context(**device, locale="en-GB", timezone_id="UTC")
    try:
        yield Visit(context.new_page())
    finally:
        context.close()
