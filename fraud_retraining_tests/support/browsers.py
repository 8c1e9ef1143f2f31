"""A real browser for tests: the Chromium or Chrome of the system, headless, driven by Playwright.

The fixture `browser` stands in `support/browser_fixtures.py`. Playwright's own browsers are never downloaded. Where no
browser is found a test is skipped and says what to install; with `BROWSER_REQUIRED=1`, as in CI, it fails instead.
"""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
REQUIRED = "BROWSER_REQUIRED"
PICTURES = "BROWSER_PICTURES"
"""A folder that pictures of what tests see go to; without it none are taken."""
PATIENCE_MS = 60_000
BETWEEN, MARGIN = 12, 8
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


THUMB = 44
"""Least width and height of what a thumb has to hit, in CSS pixels."""

SMALL_TEXTS = """() => [...document.querySelectorAll('main *')]
  .filter(one => [...one.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.textContent.trim()))
  .filter(one => parseFloat(getComputedStyle(one).fontSize) < 12)
  .map(one => one.tagName + ': ' + one.textContent.slice(0, 40))"""
"""Elements whose own text is smaller than 12 pixels, too small to be read at arm's length."""


AXE = """async () => (await axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']}))
  .violations.map(one => one.id + ': ' + one.nodes.slice(0, 3).map(node => node.html.slice(0, 120)).join(' | '))"""


def executable() -> str:
    """The browser of this system, or a skip that says what to install."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is not None:
        return found
    problem = (
        f"no browser is installed: none of {', '.join(NAMES)} is on the path; `apt-get install chromium` brings one"
    )
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(problem)
    pytest.skip(problem)


class Visit:
    """A page of a user with an empty cache and no cookies, and what it did beyond showing itself."""

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

    def picture(self, name: str, around: "Locator | None" = None) -> None:
        """Takes a picture of what is in sight, or of the part of it that holds some elements."""
        keep(name, [self.page.screenshot(clip=_span(around) if around is not None else None)])


def keep(name: str, pictures: Sequence[bytes]) -> None:
    """Puts pictures side by side into the folder of pictures, where they are wanted, in few colours."""
    from PIL import Image

    folder = os.environ.get(PICTURES)
    if not folder:
        return
    shown = [Image.open(BytesIO(png)).convert("RGB") for png in pictures]
    width = sum(one.width for one in shown) + BETWEEN * (len(shown) - 1)
    sheet = Image.new("RGB", (width, max(one.height for one in shown)), "#d9d9de")
    left = 0
    for one in shown:
        sheet.paste(one, (left, 0))
        left += one.width + BETWEEN
    sheet.quantize(96).save(Path(folder) / f"{name}.png", optimize=True)


def _span(elements: "Locator") -> Any:
    """The rectangle that holds some elements, with a margin."""
    boxes = [box for one in elements.all() if (box := one.bounding_box()) is not None]
    left, top = (min(box[side] for box in boxes) - MARGIN for side in ("x", "y"))
    right = max(box["x"] + box["width"] for box in boxes) + MARGIN
    bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


@contextmanager
def visiting(browser: "Browser", device: dict[str, Any]) -> Iterator[Visit]:
    """A visit with a device of its own, ended afterwards."""
    context = browser.new_context(**device, locale="en-GB", timezone_id="UTC")
    try:
        yield Visit(context.new_page())
    finally:
        context.close()


def require_readable(phone: Visit) -> None:
    """No page wider than the phone, no tiny text, every picture there and within it, every button a thumb wide."""
    page, width = phone.page, PHONE["viewport"]["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(SMALL_TEXTS) == []
    for picture in page.locator("img").all():
        assert picture.evaluate("one => one.complete && one.naturalWidth > 0")
        require_within(picture, width)
    for target in page.locator("button:visible, .choices summary, .fold > summary, .waiting a, .back").all():
        box = require_within(target, width)
        assert box["width"] >= THUMB, target.inner_text()
        assert box["height"] >= THUMB, target.inner_text()
    page.evaluate("document.querySelectorAll('details.fold').forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for cell in page.locator(".stacked td:not(:empty)").all():
        require_within(cell, width)


def require_accessible(visit: Visit) -> None:
    """Axe finds nothing wrong with the page as it is shown, contrasts included; every folded part is opened first."""
    package = pytest.importorskip("axe_playwright_python", reason="axe is not installed: make install brings it")
    page = visit.page
    page.evaluate("document.querySelectorAll('details.fold').forEach(one => { one.open = true; })")
    page.evaluate((Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate(AXE)
    assert found == [], found


def require_within(what: "Locator", width: int) -> dict[str, float]:
    box = what.bounding_box()
    assert box is not None, f"{what} is not shown"
    assert box["x"] >= 0, what
    assert box["x"] + box["width"] <= width + 0.5, what
    return {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"]}
