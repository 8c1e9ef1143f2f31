"""The fixture of `support/browsers.py`. To be named in a test module's `pytest_plugins`."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from fraud_retraining_tests.support.browsers import FLAGS, executable

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One browser a module: while it is open, its event loop holds this thread, and others may want one."""
    from playwright.sync_api import sync_playwright

    program = executable()
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, headless=True, args=[*FLAGS, *root])
        yield started
        started.close()
