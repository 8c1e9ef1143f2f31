"""The page of releases in a real browser: the first screen of a phone, decisions that are confirmed and count once."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining_tests.support.approvals_fixture import require_invariants
from fraud_retraining_tests.support.browsers import (
    DESKTOP,
    PHONE,
    Visit,
    require_accessible,
    require_readable,
    require_within,
    visiting,
)
from fraud_retraining_tests.support.release_apps import Reviewed_, Site_

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest_plugins = (
    "fraud_retraining_tests.support.reviewer_fixtures",
    "fraud_retraining_tests.support.browser_fixtures",
    "fraud_retraining_tests.support.release_app_fixtures",
)


@pytest.fixture
def phone(browser: "Browser") -> Iterator[Visit]:
    with visiting(browser, PHONE) as visit:
        yield visit
        assert (visit.complaints, visit.elsewhere) == ([], [])


def page_of(site: Site_, version: int | None = None, token: str = "") -> str:
    path = f"/{version}" if version else ""
    return f"{str(site.http.base_url).rstrip('/')}/releases{path}" + (f"?link={token}" if token else "")


def choose(phone: Visit, answer: str, reason: str = "") -> None:
    """Open the part of the page in which a decision is confirmed."""
    phone.page.locator(".choices summary", has_text=answer).tap()
    if reason:
        phone.page.locator(f".{answer.lower()} textarea").fill(reason)


# ------------------------------------------------------------------ deciding


def test_a_phone_without_a_candidate_says_that_nothing_waits(site: Site_, phone: Visit) -> None:
    phone.page.goto(page_of(site))
    assert "Nothing waits" in phone.text()
    assert "No version was registered yet" in phone.text()
    require_readable(phone)
    site.backend.champion(0)
    phone.page.reload()
    assert "Nothing waits" in phone.text()
    assert "promoted" in phone.page.locator(".stacked").inner_text()
    require_readable(phone)


def test_the_link_is_opened_approved_by_a_tap_and_says_who_decided(site: Site_, phone: Visit) -> None:
    site.backend.champion(0)
    waiting = site.backend.waiting(1)
    link = page_of(site, waiting.version, site.link(waiting, "bert"))
    phone.page.goto(link)
    assert "You decide as bert" in phone.text()
    require_readable(phone)
    choose(phone, "Approve", "looks right")
    assert site.backend.serving() != waiting.version, "nothing happens before it is confirmed"
    phone.page.get_by_role("button", name=f"Yes, approve version {waiting.version}").tap()
    phone.page.get_by_text("Decided by bert").wait_for()
    require_readable(phone)
    phone.page.get_by_role("link", name="All releases").tap()
    phone.page.get_by_text("Nothing waits").wait_for()
    phone.page.get_by_role("link", name=str(waiting.version), exact=True).tap()
    phone.page.locator("summary", has_text="What happened").tap()
    assert "bert" in phone.page.locator("table.stacked").last.inner_text()
    assert "looks right" in phone.text()
    assert site.backend.serving() == waiting.version
    require_invariants(site.backend)


def test_the_same_link_again_is_refused_in_words(site: Site_, browser: "Browser") -> None:
    waiting = site.backend.waiting(0)
    link = page_of(site, waiting.version, site.link(waiting, "bert"))
    with visiting(browser, PHONE) as first, visiting(browser, PHONE) as second:
        for phone in (first, second):
            phone.page.goto(link)
        choose(first, "Approve")
        first.page.get_by_role("button", name="Yes, approve").tap()
        first.page.get_by_text("Decided by bert").wait_for()
        before = site.backend.ledger.release_by_version(waiting.version)
        choose(second, "Reject", "on second thoughts")
        second.page.get_by_role("button", name="Yes, reject").tap()
        second.page.get_by_text("That was not done").wait_for()
        assert "bert" in second.text()
        first.page.goto(link)
        assert first.page.locator("form").count() == 0, "a used link shows the decision and no form"
        assert "promoted" in first.text()
    assert site.backend.ledger.release_by_version(waiting.version) == before


def test_a_rejection_without_a_reason_keeps_the_form_and_says_what_is_missing(site: Site_, browser: "Browser") -> None:
    waiting = site.backend.waiting(0)
    link = page_of(site, waiting.version, site.link(waiting, "bert"))
    with visiting(browser, PHONE) as phone:
        phone.page.goto(link)
        choose(phone, "Reject")
        phone.page.get_by_role("button", name="Yes, reject").tap()
        assert phone.page.locator(".reject textarea:invalid").count() == 1, "the browser holds an empty one back"
        phone.page.locator(".reject textarea").fill("   ")
        phone.page.get_by_role("button", name="Yes, reject").tap()
        alert = phone.page.get_by_role("alert")
        alert.wait_for()
        assert "Nothing was decided" in alert.inner_text() and "without a reason" in alert.inner_text()
        assert site.backend.states()[waiting.version] == "awaiting_approval"
        phone.page.locator(".reject textarea").fill("scores jump on new merchants")
        phone.page.get_by_role("button", name="Yes, reject").tap()
        phone.page.get_by_text("Decided by bert").wait_for()
    release = site.backend.ledger.release_by_version(waiting.version)
    assert (str(release.state), release.reason) == ("rejected", "scores jump on new merchants")


def test_a_forged_link_shows_no_form(site: Site_, browser: "Browser") -> None:
    waiting = site.backend.waiting(0)
    forged = site.link(waiting, "bert")[:-3] + "xxx"
    with visiting(browser, PHONE) as phone:
        phone.page.goto(page_of(site, waiting.version, forged))
        assert "the link is not valid, or no longer" in phone.text()
        assert phone.page.locator("form").count() == 0
        require_readable(phone)
    assert site.backend.kinds(EventKind.DECISION_REFUSED) == []


# ------------------------------------------------------------------ reading


def test_the_first_screen_of_a_phone_has_the_verdict_the_differences_the_gates_and_the_buttons(
    reviewed: Reviewed_, phone: Visit
) -> None:
    phone.page.goto(reviewed.page())
    for part in (".standing", ".differences", ".gates", ".approve summary", ".reject summary"):
        box = require_within(phone.page.locator(part), PHONE["viewport"]["width"])
        assert box["y"] + box["height"] <= PHONE["viewport"]["height"], part
    assert "Better than the champion" in phone.text()
    assert "average precision 0.8927 0.8154 +0.0773" in phone.text()
    assert phone.page.locator(".pictures img").count() == 5
    screens = phone.page.evaluate("document.documentElement.scrollHeight / window.innerHeight")
    assert screens < 5, "everything but the first screen and the pictures is folded"
    require_readable(phone)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("device", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_nothing_wrong(reviewed: Reviewed_, browser: "Browser", device: dict[str, Any], theme: str) -> None:
    with visiting(browser, {**device, "color_scheme": theme}) as visit:
        for address in (reviewed.page(), reviewed.page(2, None), f"{reviewed.address}/releases"):
            visit.page.goto(address)
            require_accessible(visit)
        visit.page.goto(reviewed.page())
        visit.page.locator(".reject summary").click()
        require_accessible(visit)
        shade = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert shade == ("rgb(255, 255, 255)" if theme == "light" else "rgb(18, 18, 20)")
        kept = visit.page.locator("figure img").first.evaluate("one => getComputedStyle(one).filter")
        assert (kept == "none") is (theme == "light"), "pictures follow the theme"
        assert visit.elsewhere == []


def test_without_scripts_a_page_still_decides(site: Site_, browser: "Browser") -> None:
    waiting = site.backend.waiting(0)
    with visiting(browser, {**PHONE, "java_script_enabled": False}) as phone:
        phone.page.goto(page_of(site, waiting.version, site.link(waiting, "bert")))
        choose(phone, "Reject", "not this week")
        phone.page.get_by_role("button", name="Yes, reject").tap()
        phone.page.get_by_text("Decided by bert").wait_for()
    assert site.backend.states()[waiting.version] == "rejected"
