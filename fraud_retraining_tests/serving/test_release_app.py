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
from fraud_retraining.domain.alerts.notices import Action, AlertPolicy, EmailPolicy, Message, WebhookPolicy
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.services.candidate_shadows import record_shadow
from fraud_retraining.services.delivery import Notifier, drain
from fraud_retraining.services.release_messages import ReleaseMessages
from fraud_retraining_tests.support.approvals_fixture import require_invariants
from fraud_retraining_tests.support.notices import a_notice
from fraud_retraining_tests.support.release_apps import ANNA, BERT, CHANNEL, EVE, PROXY_SECRET, Reviewed_, Site_
from fraud_retraining_tests.support.reviewers import TOKEN
from fraud_retraining_tests.support.shadows import candidate_shadow

pytest_plugins = (
    "fraud_retraining_tests.support.reviewer_fixtures",
    "fraud_retraining_tests.support.release_app_fixtures",
)


def refused(site: Site_) -> list[str]:
    return [event.actor for event in site.backend.ledger.events(EventKind.DECISION_REFUSED)]


# ------------------------------------------------------------------ Slack


def test_a_click_approves_promotes_and_the_message_then_says_who_and_has_no_buttons(site: Site_) -> None:
    site.backend.champion(0)
    waiting = site.backend.waiting(1)
    site.notify()
    request = json.dumps(site.request())
    for shown in (f"Version {waiting.version}", "schedule", "average precision: 0.7000", "passed", "Decide before"):
        assert shown in request
    began = time.monotonic()
    assert site.click("approve").status_code == 200
    assert time.monotonic() - began < 3, "Slack waits three seconds"
    site.settled(waiting, "promoted")
    site.notify()
    message = site.request()
    assert not [block for block in message["blocks"] if block["type"] == "actions"]
    assert "anna" in json.dumps(message["blocks"])
    assert any("is champion in place of" in text for text in site.slack.thread(message))
    release = site.backend.ledger.release_by_version(waiting.version)
    assert (release.decided_by, release.decided_via) == ("anna", "Slack, Slack user")
    assert site.backend.serving() == waiting.version
    require_invariants(site.backend)


def test_what_a_waiting_candidate_would_change_is_a_reply_and_a_picture_of_its_page(site: Site_) -> None:
    waiting = site.backend.waiting(0)
    site.notify()
    shadow = candidate_shadow(version=waiting.version)
    record_shadow(site.backend.ledger, shadow, waiting.fingerprint)
    site.notify()
    (reply,) = [text for text in site.slack.thread(site.request()) if "in shadow" in text]
    assert all(name in reply for name in ("block from 0.8 on", "review from 0.7 on", "alerts a day"))
    (address,) = re.findall(r'src="(/releases/[^"]+/shadow\.png)"', site.http.get(f"/releases/{waiting.version}").text)
    assert site.http.get(address).content.startswith(b"\x89PNG")
    assert site.http.get(re.sub("[0-9a-f]{16}", "0" * 16, address)).status_code == 404
    assert site.click("approve").status_code == 200
    site.settled(waiting, "promoted")
    site.notify()
    assert "In shadow on the latest days" in json.dumps(site.request()), "the decided request keeps it"


def test_a_rejection_asks_for_the_reason_first(site: Site_) -> None:
    waiting = site.backend.waiting(0)
    site.notify()
    value = site.button("reject")
    assert site.click("reject").status_code == 200
    deadline = time.monotonic() + 20
    while not site.slack.views:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert site.slack.views[0]["private_metadata"] == value
    assert site.backend.states()[waiting.version] == "awaiting_approval"
    assert site.give_reason(value, "scores jump on new merchants").status_code == 200
    site.settled(waiting, "rejected")
    release = site.backend.ledger.release_by_version(waiting.version)
    assert (release.reason, release.decided_by) == ("scores jump on new merchants", "anna")
    site.notify()
    assert any("was rejected by anna" in text for text in site.slack.thread(site.request()))


def test_of_two_clicks_the_first_wins_and_the_other_user_gets_a_message(site: Site_) -> None:
    waiting = site.backend.waiting(0)
    site.notify()
    value = site.button("approve")
    answers: list[int] = []

    def click_of(user: str) -> None:
        answers.append(site.click("approve", user, value=value).status_code)

    clicks = [threading.Thread(target=click_of, args=(user,)) for user in (ANNA, BERT)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join(60)
    assert answers == [200, 200]
    site.settled(waiting, "promoted")
    deadline = time.monotonic() + 60
    while not any("That was not done" in text for user in (ANNA, BERT) for text in site.slack.direct(user)):
        assert time.monotonic() < deadline, "the second user got no message"
        time.sleep(0.1)
    release = site.backend.ledger.release_by_version(waiting.version)
    loser = BERT if release.decided_by == "anna" else ANNA
    assert any(str(release.decided_by) in text for text in site.slack.direct(loser))
    require_invariants(site.backend)


def test_a_replayed_click_changes_nothing(site: Site_) -> None:
    waiting = site.backend.waiting(0)
    site.notify()
    value = site.button("approve")
    site.click("approve")
    site.settled(waiting, "promoted")
    before = site.backend.ledger.release_by_version(waiting.version)
    assert site.click("approve", BERT, value=value).status_code == 200
    assert "anna" in site.refusal_sent_to(BERT)
    assert site.backend.ledger.release_by_version(waiting.version) == before


def test_a_request_is_bound_to_its_artifact(site: Site_) -> None:
    waiting = site.backend.waiting(0)
    site.notify()
    site.click("approve", value=f"{waiting.version}:{'0' * 64}")
    assert "is not the model that was shown" in site.refusal_sent_to(ANNA)
    assert site.backend.states()[waiting.version] == "awaiting_approval"


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
    site: Site_, at: str | None, signature: str | None, why: str
) -> None:
    waiting = site.backend.waiting(0)
    body = urlencode({"payload": json.dumps({"type": "block_actions", "user": {"id": ANNA}})}).encode()
    answer = site.post(body, at=at, signature=signature)
    assert answer.status_code == 401, why
    assert refused(site) == ["unknown"]
    assert site.backend.states()[waiting.version] == "awaiting_approval"


def test_a_stranger_in_slack_is_refused_and_recorded(site: Site_) -> None:
    waiting = site.backend.waiting(0)
    site.notify()
    assert site.click("approve", EVE).status_code == 403
    assert refused(site) == [EVE]
    assert site.backend.states()[waiting.version] == "awaiting_approval"


def test_the_requester_of_the_retrain_cannot_approve_it(site: Site_) -> None:
    waiting = site.backend.waiting(0, trigger="manual", requested_by="anna")
    site.notify()
    site.click("approve")
    assert "anna requested version" in site.refusal_sent_to(ANNA)
    assert site.backend.states()[waiting.version] == "awaiting_approval"
    assert refused(site) == ["anna"]


def test_while_slack_is_down_the_request_waits_and_the_page_decides(site: Site_) -> None:
    waiting = site.backend.waiting(0)
    site.slack.is_down = True
    site.notify()
    assert site.slack.messages == []
    site.backend.approvals.reject(waiting.version, _anna(), "while Slack was down", channel="command line")
    site.slack.is_down = False
    site.notify()
    assert site.backend.states()[waiting.version] == "rejected"


def test_a_notice_that_is_enqueued_twice_is_sent_once(site: Site_) -> None:
    site.backend.waiting(0)
    site.notify()
    site.notify()
    assert len(site.slack.shown(CHANNEL)) == 1


def test_mail_and_webhook_hear_of_a_request_in_full_and_of_the_decision(site: Site_) -> None:
    channels = {"data": ["d@b.example"], "model": ["m@b.example"], "oncall": ["o@b.example"]}
    more = {
        "email": EmailPolicy(host="mail.example", sender="s@b.example", channels=channels),
        "webhook": WebhookPolicy(url="https://hooks.example/x"),
    }
    settings = site.release_notifier._settings
    alerts = settings.alerts.model_copy(update=more)
    site.release_notifier._settings = settings.model_copy(update={"alerts": alerts})
    waiting = site.backend.waiting(0)
    site.notify()
    site.give_reason(site.button("reject"), "R&D says *no* to <this>")
    site.settled(waiting, "rejected")
    site.notify()
    lines = [json.loads(line) for line in site.notifier.file.read_text().splitlines()]
    for destination in ("email:m@b.example", "webhook"):
        request, decided = [line for line in lines if line["destination"] == destination]
        assert f"fraud-retraining approve {waiting.version}" in request["text"]
        assert (request["action"], decided["action"]) == ("open", "reply")
        assert "was rejected by anna" in decided["text"]
        assert "R&D says *no* to <this>" in decided["text"], "nothing of Slack's escaping is in other messages"


def test_each_reviewer_gets_a_link_of_their_own(site: Site_) -> None:
    waiting = site.backend.waiting(0)
    site.notify()
    (message,) = site.slack.direct(BERT)
    token = re.search(r"link=([^|>]+)", message)
    assert token is not None
    link = site.links.read(token[1])
    assert (link.version, link.digest, link.reviewer) == (waiting.version, waiting.artifact_digest, "bert")


def test_a_signed_link_is_made_when_it_is_sent_and_lies_nowhere(
    site: Site_, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = site.backend.waiting(0)
    for notice in site.backend.watch.notices_after(0).notices:
        site.release_notifier.notify(notice)
    unable = ReleaseMessages(
        site.backend.ledger, site.release_notifier._store, site.backend.policy, site.policy.links, None
    )
    without = Notifier(site.policy, tmp_path, {"SLACK_BOT_TOKEN": TOKEN}, unable)
    done = drain(site.outbox, without, site.policy)
    assert "this process cannot sign links" in " ".join(done.errors)
    assert site.slack.direct(BERT) == []
    assert len(site.slack.shown(CHANNEL)) == 1, "the others do not wait for it"
    later = Outbox(site.outbox._url, model=site.outbox.model, clock=lambda: datetime.now(UTC) + timedelta(hours=1))
    drain(later, site.notifier, site.policy)
    (message,) = site.slack.direct(BERT)
    token = re.search(r"link=([^|>]+)", message)
    assert token is not None
    assert site.links.read(token[1]).version == waiting.version
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"link=" not in stored
    assert token[1] not in caplog.text


def test_links_that_an_older_version_stored_are_blanked_at_the_first_start(site: Site_, tmp_path: Path) -> None:
    old = f"<http://127.0.0.1/releases/1?link={site.link(site.backend.waiting(0), 'bert')}|Look and decide>"
    value = a_notice()
    site.outbox.open(value, [Message(destination="slack:U0BERT", action=Action.OPEN, body={"text": old})])
    (tmp_path / "alerts.jsonl").write_text(json.dumps({"text": old}) + "\n")
    drain(site.outbox, Notifier(AlertPolicy(), tmp_path, {}), AlertPolicy())
    assert (tmp_path / "alerts.jsonl").read_text().count("?link=***") == 2, "the old line, and the message now written"
    assert not re.search(r"link=[^*]", (tmp_path / "alerts.jsonl").read_text())
    with sqlite3.connect(site.outbox._url.removeprefix("sqlite:///")) as cn:
        messages = " ".join(message for (message,) in cn.execute("SELECT message FROM deliveries"))
    assert "?link=***" in messages
    assert not re.search(r"link=[^*]", messages)


def _anna() -> Any:
    from fraud_retraining.domain.releases.reviewers import Identity, Proof

    return Identity(name="anna", how=Proof.TOKEN)


# ------------------------------------------------------------------ the page


def test_the_pages_show_what_waits_and_every_release(site: Site_) -> None:
    site.backend.champion(0)
    waiting = site.backend.waiting(1)
    index = site.http.get("/releases")
    assert index.status_code == 200
    assert f"/releases/{waiting.version}" in index.text
    page = site.http.get(f"/releases/{waiting.version}")
    assert "waits for a reviewer" in page.text
    assert "<form" not in page.text, "no user is logged in"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert site.http.get("/releases/999").status_code == 404


def test_a_signed_link_decides_once(site: Site_) -> None:
    waiting = site.backend.waiting(0)
    token = site.link(waiting, "bert")
    page = site.http.get(f"/releases/{waiting.version}", params={"link": token})
    assert "You decide as <strong>bert</strong>" in page.text
    form = {"link": token, "decision": "approve", "reason": "fine"}
    answer = site.http.post(f"/releases/{waiting.version}", data=form)
    assert answer.status_code == 200
    assert "promoted" in answer.text
    again = site.http.post(f"/releases/{waiting.version}", data={**form, "decision": "reject"})
    assert again.status_code == 409
    with sqlite3.connect(site.outbox._url.removeprefix("sqlite:///")) as cn:
        assert cn.execute("DELETE FROM used_links").rowcount == 1
    replayed = site.http.post(f"/releases/{waiting.version}", data={**form, "decision": "reject"})
    assert replayed.status_code == 409, "a row that is gone decides nothing: the release does not wait any more"
    release = site.backend.ledger.release_by_version(waiting.version)
    assert (release.decided_by, release.decided_via) == ("bert", "page, signed link")
    require_invariants(site.backend)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda token: token[:-2] + "xx", "forged"),
        (lambda token: "junk", "junk"),
        (lambda token: "", "nobody"),
    ],
)
def test_a_link_that_is_none_is_refused(site: Site_, change: Any, why: str) -> None:
    waiting = site.backend.waiting(0)
    form = {"link": change(site.link(waiting, "bert")), "decision": "approve"}
    assert site.http.post(f"/releases/{waiting.version}", data=form).status_code == 403, why
    assert site.backend.states()[waiting.version] == "awaiting_approval"


def test_a_link_is_for_one_version_and_for_a_reviewer(site: Site_) -> None:
    first, second = site.backend.registered(0), site.backend.waiting(1)
    form = {"link": site.link(first, "bert"), "decision": "approve"}
    assert site.http.post(f"/releases/{second.version}", data=form).status_code == 403
    stranger = {"link": site.link(second, "mallory"), "decision": "approve"}
    assert site.http.post(f"/releases/{second.version}", data=stranger).status_code == 403
    assert refused(site) == ["mallory"]


def test_the_login_proxy_decides_from_its_own_page_only(site: Site_) -> None:
    waiting = site.backend.waiting(0)
    form = {"decision": "reject", "reason": "drift in amounts"}
    here = {"X-Login": "anna", "Origin": str(site.http.base_url).rstrip("/"), "X-Proxy-Secret": PROXY_SECRET}
    elsewhere = {**here, "Origin": "http://evil.example"}
    url = f"/releases/{waiting.version}"
    assert site.http.post(url, data=form).status_code == 403
    assert site.http.post(url, data=form, headers=elsewhere).status_code == 403
    assert site.http.post(url, data=form, headers={**here, "X-Login": "mallory"}).status_code == 403
    refused = site.http.post(url, data={**form, "reason": " \t"}, headers=here)
    assert refused.status_code == 400
    assert "without a reason" in refused.text and "<form" in refused.text, "the form comes back"
    assert site.http.post(url, data=form, headers=here).status_code == 200
    release = site.backend.ledger.release_by_version(waiting.version)
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
def test_a_client_of_the_port_is_not_the_login_proxy(site: Site_, claimed: dict[str, str]) -> None:
    waiting = site.backend.waiting(0)
    headers = {"X-Login": "anna", "Origin": str(site.http.base_url).rstrip("/"), **claimed}
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    url = f"/releases/{waiting.version}"
    form = {"decision": "reject", "reason": "drift"}
    assert site.http.post(url, data=form, headers=encoded).status_code == 403
    assert site.backend.states() == {waiting.version: "awaiting_approval"}
    assert "<form" not in site.http.get(url, headers=encoded).text


def test_hostile_text_in_the_record_is_shown_and_not_run(site: Site_) -> None:
    waiting = site.backend.waiting(0)
    site.backend.approvals.reject(waiting.version, _anna(), "<script>alert(1)</script>", channel="command line")
    page = site.http.get(f"/releases/{waiting.version}").text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


# ------------------------------------------------------------------ pictures


def test_pictures_have_addresses_of_their_own_that_a_browser_may_keep(reviewed: Reviewed_) -> None:
    client = httpx.Client(base_url=reviewed.address, timeout=60)
    page = client.get("/releases/4").text
    addresses = re.findall(r'src="(/releases/4/pictures/[0-9a-f]{16}/[a-z_]+\.png)"', page)
    assert len(addresses) == 5 and "data:" not in page
    first = client.get(addresses[0])
    assert first.content.startswith(b"\x89PNG")
    assert "immutable" in first.headers["cache-control"]
    again = client.get(addresses[0], headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for wrong in ("/releases/4/pictures/0000000000000000/scores.png", addresses[0].replace(".png", "x.png")):
        assert client.get(wrong).status_code == 404
