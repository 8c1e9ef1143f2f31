"""Decisions over real HTTP: Slack's signed clicks, signed one-time links, a login proxy, and what is none of them."""

import json
import re
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.domain.alerts.notices import Action, AlertPolicy, Message
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.services.delivery import Notifier, drain
from fraud_retraining_tests.support.approvals_fixture import require_invariants
from fraud_retraining_tests.support.notices import a_notice
from fraud_retraining_tests.support.release_apps import ANNA, BERT, CHANNEL, EVE, PROXY_SECRET, Office_, Reviewed_
from fraud_retraining_tests.support.reviewers import TOKEN

pytest_plugins = (
    "fraud_retraining_tests.support.reviewer_fixtures",
    "fraud_retraining_tests.support.release_app_fixtures",
)


def refused(office: Office_) -> list[str]:
    return [event.actor for event in office.world.ledger.events(EventKind.DECISION_REFUSED)]


# ------------------------------------------------------------------ Slack


def test_a_click_approves_promotes_and_the_message_then_says_who_and_has_no_buttons(office: Office_) -> None:
    office.world.champion(0)
    waiting = office.world.waiting(1)
    office.tell()
    asked = json.dumps(office.request())
    for shown in (f"Version {waiting.version}", "schedule", "average precision: 0.7000", "passed", "Decide before"):
        assert shown in asked
    began = time.monotonic()
    assert office.click("approve").status_code == 200
    assert time.monotonic() - began < 3, "Slack waits three seconds"
    office.settled(waiting, "promoted")
    office.tell()
    message = office.request()
    assert not [block for block in message["blocks"] if block["type"] == "actions"]
    assert "anna" in json.dumps(message["blocks"])
    assert any("is champion in place of" in text for text in office.slack.thread(message))
    release = office.world.ledger.release_by_version(waiting.version)
    assert (release.decided_by, release.decided_via) == ("anna", "Slack, Slack user")
    assert office.world.serving() == waiting.version
    require_invariants(office.world)


def test_a_rejection_asks_for_the_reason_first(office: Office_) -> None:
    waiting = office.world.waiting(0)
    office.tell()
    value = office.button("reject")
    assert office.click("reject").status_code == 200
    deadline = time.monotonic() + 20
    while not office.slack.views:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert office.slack.views[0]["private_metadata"] == value
    assert office.world.states()[waiting.version] == "awaiting_approval"
    assert office.give_reason(value, "scores jump on new merchants").status_code == 200
    office.settled(waiting, "rejected")
    release = office.world.ledger.release_by_version(waiting.version)
    assert (release.reason, release.decided_by) == ("scores jump on new merchants", "anna")
    office.tell()
    assert any("was rejected by anna" in text for text in office.slack.thread(office.request()))


def test_of_two_clicks_the_first_wins_and_the_other_is_told(office: Office_) -> None:
    waiting = office.world.waiting(0)
    office.tell()
    value = office.button("approve")
    answers: list[int] = []

    def click_of(user: str) -> None:
        answers.append(office.click("approve", user, value=value).status_code)

    clicks = [threading.Thread(target=click_of, args=(user,)) for user in (ANNA, BERT)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join(60)
    assert answers == [200, 200]
    office.settled(waiting, "promoted")
    deadline = time.monotonic() + 60
    while not any("That was not done" in text for user in (ANNA, BERT) for text in office.slack.direct(user)):
        assert time.monotonic() < deadline, "the second was told nothing"
        time.sleep(0.1)
    release = office.world.ledger.release_by_version(waiting.version)
    loser = BERT if release.decided_by == "anna" else ANNA
    assert any(str(release.decided_by) in text for text in office.slack.direct(loser))
    require_invariants(office.world)


def test_a_replayed_click_changes_nothing(office: Office_) -> None:
    waiting = office.world.waiting(0)
    office.tell()
    value = office.button("approve")
    office.click("approve")
    office.settled(waiting, "promoted")
    before = office.world.ledger.release_by_version(waiting.version)
    assert office.click("approve", BERT, value=value).status_code == 200
    assert "anna" in office.told_no(BERT)
    assert office.world.ledger.release_by_version(waiting.version) == before


def test_a_request_is_bound_to_its_artifact(office: Office_) -> None:
    waiting = office.world.waiting(0)
    office.tell()
    office.click("approve", value=f"{waiting.version}:{'0' * 64}")
    assert "is not the model that was asked about" in office.told_no(ANNA)
    assert office.world.states()[waiting.version] == "awaiting_approval"


@pytest.mark.parametrize(
    ("at", "signature", "why"),
    [
        (None, "v0=" + "0" * 64, "forged"),
        (None, "", "none"),
        (None, "junk", "junk"),
        ("1500000000", None, "stale: eight years old"),
        ("not a time", None, "a junk time"),
        ("", None, "no time"),
    ],
)
def test_what_slack_did_not_sign_now_is_refused_recorded_and_never_an_error(
    office: Office_, at: str | None, signature: str | None, why: str
) -> None:
    waiting = office.world.waiting(0)
    body = urlencode({"payload": json.dumps({"type": "block_actions", "user": {"id": ANNA}})}).encode()
    answer = office.post(body, at=at, signature=signature)
    assert answer.status_code == 401, why
    assert refused(office) == ["unknown"]
    assert office.world.states()[waiting.version] == "awaiting_approval"


def test_a_stranger_in_slack_is_refused_and_recorded(office: Office_) -> None:
    waiting = office.world.waiting(0)
    office.tell()
    assert office.click("approve", EVE).status_code == 403
    assert refused(office) == [EVE]
    assert office.world.states()[waiting.version] == "awaiting_approval"


def test_whoever_asked_for_the_retrain_cannot_approve_it(office: Office_) -> None:
    waiting = office.world.waiting(0, trigger="manual", requested_by="anna")
    office.tell()
    office.click("approve")
    assert "asked for" in office.told_no(ANNA)
    assert office.world.states()[waiting.version] == "awaiting_approval"
    assert refused(office) == ["anna"]


def test_while_slack_is_down_the_request_waits_and_the_desk_decides(office: Office_) -> None:
    waiting = office.world.waiting(0)
    office.slack.is_down = True
    office.tell()
    assert office.slack.messages == []
    office.world.desk.reject(waiting.version, _anna(), "while Slack was down", channel="command line")
    office.slack.is_down = False
    office.tell()
    assert office.world.states()[waiting.version] == "rejected"


def test_the_same_news_brought_twice_is_told_once(office: Office_) -> None:
    office.world.waiting(0)
    office.tell()
    office.tell()
    assert len(office.slack.shown(CHANNEL)) == 1


def test_each_reviewer_gets_a_link_of_their_own(office: Office_) -> None:
    waiting = office.world.waiting(0)
    office.tell()
    (told,) = office.slack.direct(BERT)
    token = re.search(r"link=([^|>]+)", told)
    assert token is not None
    link = office.links.read(token[1])
    assert (link.version, link.digest, link.reviewer) == (waiting.version, waiting.artifact_digest, "bert")


def test_a_signed_link_is_made_when_it_is_sent_and_lies_nowhere(
    office: Office_, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = office.world.waiting(0)
    for notice in office.world.watch.news(0).notices:
        office.teller.tell(notice)
    without = Notifier(office.policy, tmp_path, {"SLACK_BOT_TOKEN": TOKEN})
    done = drain(office.outbox, without, office.policy)
    assert "this process cannot sign links" in " ".join(done.errors)
    assert office.slack.direct(BERT) == []
    assert len(office.slack.shown(CHANNEL)) == 1, "the others do not wait for it"
    later = Outbox(office.outbox._url, model=office.outbox.model, clock=lambda: datetime.now(UTC) + timedelta(hours=1))
    drain(later, office.notifier, office.policy)
    (told,) = office.slack.direct(BERT)
    token = re.search(r"link=([^|>]+)", told)
    assert token is not None
    assert office.links.read(token[1]).version == waiting.version
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"link=" not in stored
    assert token[1] not in caplog.text


def test_links_that_an_older_version_stored_are_blanked_at_the_first_start(office: Office_, tmp_path: Path) -> None:
    old = f"<http://127.0.0.1/releases/1?link={office.link(office.world.waiting(0), 'bert')}|Look and decide>"
    value = a_notice()
    office.outbox.open(value, [Message(destination="slack:U0BERT", action=Action.OPEN, body={"text": old})])
    (tmp_path / "alerts.jsonl").write_text(json.dumps({"text": old}) + "\n")
    drain(office.outbox, Notifier(AlertPolicy(), tmp_path, {}), AlertPolicy())
    assert (tmp_path / "alerts.jsonl").read_text().count("?link=***") == 2, "the old line, and the message now written"
    assert not re.search(r"link=[^*]", (tmp_path / "alerts.jsonl").read_text())
    with sqlite3.connect(office.outbox._url.removeprefix("sqlite:///")) as cn:
        messages = " ".join(message for (message,) in cn.execute("SELECT message FROM deliveries"))
    assert "?link=***" in messages
    assert not re.search(r"link=[^*]", messages)


def _anna() -> Any:
    from fraud_retraining.domain.releases.reviewers import Identity, Proof

    return Identity(name="anna", how=Proof.TOKEN)


# ------------------------------------------------------------------ the page


def test_the_pages_show_what_waits_and_every_release(office: Office_) -> None:
    office.world.champion(0)
    waiting = office.world.waiting(1)
    index = office.http.get("/releases")
    assert index.status_code == 200
    assert f"/releases/{waiting.version}" in index.text
    page = office.http.get(f"/releases/{waiting.version}")
    assert "waits for a reviewer" in page.text
    assert "<form" not in page.text, "nobody is known here"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert office.http.get("/releases/999").status_code == 404


def test_a_signed_link_decides_once(office: Office_) -> None:
    waiting = office.world.waiting(0)
    token = office.link(waiting, "bert")
    page = office.http.get(f"/releases/{waiting.version}", params={"link": token})
    assert "You decide as <strong>bert</strong>" in page.text
    form = {"link": token, "decision": "approve", "reason": "fine"}
    answer = office.http.post(f"/releases/{waiting.version}", data=form)
    assert answer.status_code == 200
    assert "promoted" in answer.text
    again = office.http.post(f"/releases/{waiting.version}", data={**form, "decision": "reject"})
    assert again.status_code == 409
    release = office.world.ledger.release_by_version(waiting.version)
    assert (release.decided_by, release.decided_via) == ("bert", "page, signed link")
    require_invariants(office.world)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda token: token[:-2] + "xx", "forged"),
        (lambda token: "junk", "junk"),
        (lambda token: "", "nobody"),
    ],
)
def test_a_link_that_is_none_is_refused(office: Office_, change: Any, why: str) -> None:
    waiting = office.world.waiting(0)
    form = {"link": change(office.link(waiting, "bert")), "decision": "approve"}
    assert office.http.post(f"/releases/{waiting.version}", data=form).status_code == 403, why
    assert office.world.states()[waiting.version] == "awaiting_approval"


def test_a_link_is_for_one_version_and_for_a_reviewer(office: Office_) -> None:
    first, second = office.world.registered(0), office.world.waiting(1)
    form = {"link": office.link(first, "bert"), "decision": "approve"}
    assert office.http.post(f"/releases/{second.version}", data=form).status_code == 403
    stranger = {"link": office.link(second, "mallory"), "decision": "approve"}
    assert office.http.post(f"/releases/{second.version}", data=stranger).status_code == 403
    assert refused(office) == ["mallory"]


def test_the_login_proxy_decides_from_its_own_page_only(office: Office_) -> None:
    waiting = office.world.waiting(0)
    form = {"decision": "reject", "reason": "drift in amounts"}
    here = {"X-Login": "anna", "Origin": str(office.http.base_url).rstrip("/"), "X-Proxy-Secret": PROXY_SECRET}
    elsewhere = {**here, "Origin": "http://evil.example"}
    url = f"/releases/{waiting.version}"
    assert office.http.post(url, data=form).status_code == 403
    assert office.http.post(url, data=form, headers=elsewhere).status_code == 403
    assert office.http.post(url, data=form, headers={**here, "X-Login": "mallory"}).status_code == 403
    untold = office.http.post(url, data={**form, "reason": " \t"}, headers=here)
    assert untold.status_code == 400
    assert "without a reason" in untold.text and "<form" in untold.text, "the form comes back"
    assert office.http.post(url, data=form, headers=here).status_code == 200
    release = office.world.ledger.release_by_version(waiting.version)
    assert (release.decided_by, release.decided_via, release.reason) == (
        "anna",
        "page, login proxy",
        "drift in amounts",
    )


@pytest.mark.parametrize(
    "claimed",
    [{}, {"X-Proxy-Secret": "a guess"}, {"X-Proxy-Secret": ""}, {"X-Forwarded-For": "10.0.0.1", "X-Proxy-Secret": "é"}],
    ids=["no secret", "a wrong one", "an empty one", "another address"],
)
def test_whoever_reaches_the_port_is_not_the_login_proxy(office: Office_, claimed: dict[str, str]) -> None:
    waiting = office.world.waiting(0)
    headers = {"X-Login": "anna", "Origin": str(office.http.base_url).rstrip("/"), **claimed}
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    url = f"/releases/{waiting.version}"
    form = {"decision": "reject", "reason": "drift"}
    assert office.http.post(url, data=form, headers=encoded).status_code == 403
    assert office.world.states() == {waiting.version: "awaiting_approval"}
    assert "<form" not in office.http.get(url, headers=encoded).text


def test_hostile_text_in_the_record_is_shown_and_not_run(office: Office_) -> None:
    waiting = office.world.waiting(0)
    office.world.desk.reject(waiting.version, _anna(), "<script>alert(1)</script>", channel="command line")
    page = office.http.get(f"/releases/{waiting.version}").text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


# ------------------------------------------------------------------ pictures


def test_pictures_have_addresses_of_their_own_that_a_browser_may_keep(reviewed: Reviewed_) -> None:
    client = httpx.Client(base_url=reviewed.address, timeout=60)
    page = client.get("/releases/4").text
    addresses = re.findall(r'src="(/releases/4/pictures/[0-9a-f]{16}/[a-z_]+\.png)"', page)
    assert len(addresses) == 4 and "data:" not in page
    first = client.get(addresses[0])
    assert first.content.startswith(b"\x89PNG")
    assert "immutable" in first.headers["cache-control"]
    again = client.get(addresses[0], headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for wrong in ("/releases/4/pictures/0000000000000000/scores.png", addresses[0].replace(".png", "x.png")):
        assert client.get(wrong).status_code == 404
