"""The page of releases on a phone in a real browser: what waits is read, and decided by one tap that counts once."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from fraud_retraining.domain.events import EventKind
from fraud_retraining_tests.adapters.desks import require_invariants
from fraud_retraining_tests.browsers import PHONE, Visit, require_readable, visiting
from fraud_retraining_tests.serving.offices import Office_

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest_plugins = (
    "fraud_retraining_tests.adapters.people_fixtures",
    "fraud_retraining_tests.browser_fixtures",
    "fraud_retraining_tests.serving.office_fixtures",
)


@pytest.fixture
def phone(browser: "Browser") -> Iterator[Visit]:
    with visiting(browser, PHONE) as visit:
        yield visit
        assert (visit.complaints, visit.elsewhere) == ([], [])


def page_of(office: Office_, version: int | None = None, token: str = "") -> str:
    path = f"/{version}" if version else ""
    return f"{str(office.http.base_url).rstrip('/')}/releases{path}" + (f"?link={token}" if token else "")


# ------------------------------------------------------------------ deciding


def test_a_phone_without_a_candidate_says_that_nothing_waits(office: Office_, phone: Visit) -> None:
    phone.page.goto(page_of(office))
    assert "Nothing waits" in phone.text()
    assert "No version was registered yet" in phone.text()
    require_readable(phone)
    office.world.champion(0)
    phone.page.reload()
    assert "Nothing waits" in phone.text()
    assert "promoted" in phone.page.locator(".stacked").inner_text()
    require_readable(phone)


def test_the_link_is_opened_approved_by_a_tap_and_says_who_decided(office: Office_, phone: Visit) -> None:
    office.world.champion(0)
    waiting = office.world.waiting(1)
    link = page_of(office, waiting.version, office.link(waiting, "bert"))
    phone.page.goto(link)
    assert "You decide as bert" in phone.text()
    require_readable(phone)
    phone.page.get_by_label("Reason").fill("looks right")
    phone.page.get_by_role("button", name="Approve").tap()
    phone.page.get_by_text("Decided by bert").wait_for()
    require_readable(phone)
    phone.page.get_by_role("link", name="All releases").tap()
    phone.page.get_by_text("Nothing waits").wait_for()
    phone.page.get_by_role("link", name=str(waiting.version), exact=True).tap()
    phone.page.get_by_text("What happened").wait_for()
    assert "bert" in phone.page.locator("table.stacked").last.inner_text()
    assert "looks right" in phone.text()
    assert office.world.serving() == waiting.version
    require_invariants(office.world)


def test_the_same_link_again_is_refused_in_words(office: Office_, browser: "Browser") -> None:
    waiting = office.world.waiting(0)
    link = page_of(office, waiting.version, office.link(waiting, "bert"))
    with visiting(browser, PHONE) as first, visiting(browser, PHONE) as second:
        for phone in (first, second):
            phone.page.goto(link)
        first.page.get_by_role("button", name="Approve").tap()
        first.page.get_by_text("Decided by bert").wait_for()
        before = office.world.ledger.release_by_version(waiting.version)
        second.page.get_by_label("Reason").fill("on second thoughts")
        second.page.get_by_role("button", name="Reject").tap()
        second.page.get_by_text("That was not done").wait_for()
        assert "bert" in second.text()
        first.page.goto(link)
        assert first.page.locator("form").count() == 0, "a used link shows the decision and no form"
        assert "promoted" in first.text()
    assert office.world.ledger.release_by_version(waiting.version) == before


def test_a_rejection_needs_a_reason(office: Office_, browser: "Browser") -> None:
    waiting = office.world.waiting(0)
    link = page_of(office, waiting.version, office.link(waiting, "bert"))
    with visiting(browser, PHONE) as phone:
        phone.page.goto(link)
        phone.page.get_by_role("button", name="Reject").tap()
        phone.page.get_by_text("That was not done").wait_for()
        assert "reason" in phone.text()
        assert office.world.states()[waiting.version] == "awaiting_approval"
        phone.page.go_back()
        phone.page.get_by_label("Reason").fill("scores jump on new merchants")
        phone.page.get_by_role("button", name="Reject").tap()
        phone.page.get_by_text("Decided by bert").wait_for()
    release = office.world.ledger.release_by_version(waiting.version)
    assert (str(release.state), release.reason) == ("rejected", "scores jump on new merchants")


def test_a_forged_link_shows_no_form(office: Office_, browser: "Browser") -> None:
    waiting = office.world.waiting(0)
    forged = office.link(waiting, "bert")[:-3] + "xxx"
    with visiting(browser, PHONE) as phone:
        phone.page.goto(page_of(office, waiting.version, forged))
        assert "the link is not valid, or no longer" in phone.text()
        assert phone.page.locator("form").count() == 0
        require_readable(phone)
    assert office.world.kinds(EventKind.DECISION_REFUSED) == []
