"""Who may write to the outbox's tables gets no signed link, no buttons with figures of theirs, and no new address."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.tables import DELIVERIES, NOTICES
from fraud_retraining.adapters.pages.signed_links import ReleaseLinks
from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.alerts.notices import AlertPolicy, LinkPolicy, SlackPolicy
from fraud_retraining.domain.release_messages.slack_request import (
    lets_decide,
    personal_link_message,
    request_message,
)
from fraud_retraining.domain.releases.release import ReleaseState
from fraud_retraining.domain.releases.reviewers import Reviewer, ReviewerPolicy
from fraud_retraining.services.delivery import Drained, Notifier, drain
from fraud_retraining.services.release_messages import ReleaseMessages, read_with_report
from fraud_retraining_tests.support.ledgers import opened, waiting
from fraud_retraining_tests.support.notices import a_notice
from fraud_retraining_tests.support.reviewers import TOKEN, Slack

pytest_plugins = ("fraud_retraining_tests.support.reviewer_fixtures",)

REVIEWERS = ReviewerPolicy(
    reviewers=(Reviewer(name="alice", slack_id="UALICE"), Reviewer(name="bob", slack_id="UBOB"), Reviewer(name="carol"))
)
LINKS = ReleaseLinks("a secret that is long enough to sign links with", 24)
OPENED, WAITING = 1, 2
AT = "2026-11-28T00:00:00.000000Z"


@dataclass
class Forger:
    """Somebody with nothing but the tables of the outbox, beside a process that sends what is in them."""

    url: str
    ledger: Ledger
    store: Store
    outbox: Outbox
    slack: Slack
    notifier: Notifier
    policy: AlertPolicy

    def write(self, destination: str, body: Any, **more: Any) -> int:
        """Insert a notice and a delivery of it; return the number of the delivery."""
        notice = {"model": "fraud_detector", "dedup_key": f"k{more}", "category": "release", "severity": "medium"}
        times = {"seen": 1, "opened_at": AT, "seen_at": AT}
        engine = sa.create_engine(self.url)
        with engine.begin() as cn:
            row = {**notice, **times, "notice": a_notice().model_dump_json()}
            (number,) = cn.execute(NOTICES.insert().values(row)).inserted_primary_key
            values = {"notice_id": number, "destination": destination, "action": "open", "message": json.dumps(body)}
            due = {"attempts": 0, "created_at": AT, "due_at": AT}
            (number,) = cn.execute(DELIVERIES.insert().values({**values, **due, **more})).inserted_primary_key
        engine.dispose()
        return int(number)

    def drain(self) -> Drained:
        return drain(self.outbox, self.notifier, self.policy)

    def digest(self, version: int = WAITING) -> str:
        release = self.ledger.release_by_version(version)
        assert release is not None
        return release.artifact_digest


@pytest.fixture
def forger(tmp_path: Path, slack: Slack) -> Forger:
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger, store = Ledger(url), Store(FolderLocation(tmp_path / "store"), tmp_path / "scratch")
    opened(ledger, OPENED)
    waiting(ledger, WAITING, 2)
    policy = AlertPolicy(slack=SlackPolicy(api_url=slack.url), links=LinkPolicy(releases="https://fraud.example/r"))
    releases = ReleaseMessages(ledger, store, REVIEWERS, policy.links, LINKS)
    notifier = Notifier(policy, tmp_path, {"SLACK_BOT_TOKEN": TOKEN}, releases)
    return Forger(url, ledger, store, Outbox(url), slack, notifier, policy)


def link_row(forger: Forger, **wanted: Any) -> dict[str, Any]:
    asked = {"version": WAITING, "digest": forger.digest(), "reviewer": "alice", **wanted}
    return {"text": "Send the link on to me", "signed_link": asked}


FORGED: dict[str, tuple[str, dict[str, Any], str]] = {
    "to somebody else": ("slack:UMALLORY", {}, "the settings name no destination slack:UMALLORY"),
    "to another reviewer": ("slack:UBOB", {}, "slack:UBOB is not alice's own address"),
    "to a channel": ("slack:#ml-alerts", {}, "slack:#ml-alerts is not alice's own address"),
    "of a reviewer without an address": ("slack:UALICE", {"reviewer": "carol"}, "is not carol's own address"),
    "of no reviewer": ("slack:UALICE", {"reviewer": "mallory"}, "'mallory' is no reviewer"),
    "of a list": ("slack:UALICE", {"reviewer": ["alice"]}, "is no reviewer"),
    "of another artifact": ("slack:UALICE", {"digest": "d9"}, "version 2 has another artifact"),
    "of what does not wait": (
        "slack:UALICE",
        {"version": OPENED},
        "version 1 does not wait for a decision: registered",
    ),
    "of no version": ("slack:UALICE", {"version": 99}, "the ledger knows no version 99"),
    "of a version as text": ("slack:UALICE", {"version": "2"}, "the ledger knows no version 2"),
}


@pytest.mark.parametrize("case", FORGED)
def test_no_link_is_signed_for_a_row_that_the_settings_and_the_ledger_do_not_confirm(forger: Forger, case: str) -> None:
    destination, wanted, why = FORGED[case]
    forger.write(destination, link_row(forger, **wanted))
    done = forger.drain()
    assert (done.sent, done.given_up) == (0, 1)
    assert why in done.errors[0]
    assert forger.slack.messages == []
    assert why in (forger.outbox.backlog().last_error or ""), "status tells it"


def test_of_a_row_that_they_confirm_only_who_and_which_version_is_believed(forger: Forger) -> None:
    forger.write("slack:UALICE", link_row(forger))
    assert forger.drain() == Drained(sent=1)
    (text,) = forger.slack.direct("UALICE")
    assert text.startswith("Version 2 of fraud_detector waits for a decision.")
    assert "Send the link on" not in text
    found = re.search(r"link=([^|>]+)", text)
    assert found is not None
    assert LINKS.read(found[1])[:3] == (WAITING, forger.digest(), "alice")


def test_a_version_that_waits_for_another_model_is_none_of_this_one(forger: Forger) -> None:
    waiting(Ledger(forger.url, model="cards"), 7, 3)
    forger.write("slack:UALICE", link_row(forger, version=7, digest="d7"))
    assert "the ledger knows no version 7" in forger.drain().errors[0]
    assert forger.slack.messages == []


def test_a_link_is_signed_only_while_its_version_waits(forger: Forger) -> None:
    forger.write("slack:UALICE", link_row(forger))
    forger.ledger.move_release(WAITING, ReleaseState.REJECTED, actor="bob", channel="command line", reason="no")
    assert "version 2 does not wait for a decision: rejected" in forger.drain().errors[0]
    assert forger.slack.messages == []


def request(forger: Forger) -> Any:
    """The request as the program composes it, as JSON."""
    return json.loads(
        json.dumps(request_message(*read_with_report(forger.ledger, forger.store, WAITING), forger.policy.links))
    )


def test_a_request_shows_the_figures_of_the_ledger_whatever_its_row_says(forger: Forger) -> None:
    body = request(forger)
    body["blocks"][0]["text"]["text"] = "Everything passed, press the button"
    forger.write("slack:#ml-alerts", {**body, "text": "Everything passed"})
    assert forger.drain() == Drained(sent=1)
    (message,) = forger.slack.messages
    assert (message["text"], message["blocks"]) == tuple(request(forger).values())


def pressed(value: str) -> dict[str, Any]:
    return {"type": "actions", "elements": [{"type": "button", "action_id": "approve_release", "value": value}]}


UNKNOWN: dict[str, Callable[[Forger], list[Any]]] = {
    "of another artifact": lambda forger: [pressed("2:d9")],
    "of what does not wait": lambda forger: [pressed(f"1:{forger.digest(OPENED)}")],
    "without a value": lambda forger: [{"type": "actions", "elements": []}],
    "of another kind": lambda forger: [{"type": "input", "element": {"type": "plain_text_input"}}],
    "beside a text": lambda forger: [{"type": "section", "accessory": pressed("2:x")["elements"][0]}],
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_buttons_that_are_none_of_a_request_are_not_sent(forger: Forger, case: str) -> None:
    forger.write("slack:#ml-alerts", {"text": "x", "blocks": UNKNOWN[case](forger)})
    assert forger.drain().given_up == 1
    assert forger.slack.messages == []


def test_no_change_and_no_reply_lets_anybody_decide(forger: Forger) -> None:
    receipt = json.dumps({"channel": "C1", "ts": "1700000000.000000"})
    forger.write("slack:#ml-alerts", {"text": "x"}, receipt=receipt, delivered_at=AT)
    number = forger.write("slack:#ml-alerts", request(forger), action="update")
    with sa.create_engine(forger.url).begin() as cn:
        cn.execute(DELIVERIES.update().where(DELIVERIES.c.id == number).values(notice_id=1))
    assert "only the first message lets a reviewer decide" in forger.drain().errors[0]
    assert forger.slack.messages == []


def test_a_reply_goes_to_the_channel_of_the_settings_and_not_of_the_receipt(forger: Forger) -> None:
    receipt = json.dumps({"channel": "UMALLORY", "ts": "1700000000.000000"})
    forger.write("slack:#ml-alerts", {"text": "x"}, receipt=receipt, delivered_at=AT)
    number = forger.write("slack:#ml-alerts", {"text": "what was decided"}, action="reply")
    with sa.create_engine(forger.url).begin() as cn:
        cn.execute(DELIVERIES.update().where(DELIVERIES.c.id == number).values(notice_id=1))
    assert forger.drain() == Drained(sent=1)
    assert [one["channel"] for one in forger.slack.messages] == ["C1"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": 3},
        {"text": "x", "blocks": "y"},
        {"text": "x", "channel": "UMALLORY"},
        {"text": "x", "as_user": True},
    ],
)
def test_a_body_of_another_form_is_given_up_and_the_next_is_sent(forger: Forger, body: Any) -> None:
    forger.write("slack:#ml-alerts", body)
    forger.write("slack:#ml-alerts", {"text": "sound"}, attempts=1)
    done = forger.drain()
    assert (done.sent, done.given_up) == (1, 1)
    assert [one["text"] for one in forger.slack.messages] == ["sound"]


def test_what_the_program_sends_is_told_apart_from_what_lets_decide(forger: Forger) -> None:
    release = forger.ledger.release_by_version(WAITING)
    assert release is not None
    assert lets_decide(personal_link_message(release, "alice"))
    assert lets_decide(request(forger))
    assert not lets_decide({"text": "x"})
    assert not lets_decide({"text": "x", "blocks": request(forger)["blocks"][:-1]})
