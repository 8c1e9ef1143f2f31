"""Decisions over real HTTP: Slack's signed clicks, signed one-time links, a login proxy, and what is none of them."""

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import uvicorn

from fraud_retraining.adapters.links import ReleaseLinks
from fraud_retraining.adapters.locations import FolderLocation
from fraud_retraining.adapters.notifier import Notifier, drain
from fraud_retraining.adapters.outbox import Outbox
from fraud_retraining.adapters.store import Store
from fraud_retraining.domain.events import EventKind
from fraud_retraining.domain.notices import AlertPolicy, LinkPolicy, SlackPolicy
from fraud_retraining.domain.releases import Release
from fraud_retraining.domain.reviewers import Reviewer, ReviewerPolicy
from fraud_retraining.orchestration.release_teller import OutboxTeller
from fraud_retraining.serving.release_app import Office, build_app
from fraud_retraining.serving.release_app import Slack as SlackSetup
from fraud_retraining.settings import Settings
from fraud_retraining_tests.adapters.desks import World, require_invariants
from fraud_retraining_tests.adapters.people import TOKEN, Slack

pytest_plugins = ("fraud_retraining_tests.adapters.people_fixtures",)

SIGNING, SECRET = "a signing secret", "a secret that is long enough to sign links with"
ANNA, BERT, EVE = "U0ANNA", "U0BERT", "U0EVE"
CHANNEL = "#ml-alerts"


@dataclass
class Office_:
    """A world with an app in front of it, Slack beside it, and a teller that uses both."""

    world: World
    slack: Slack
    http: httpx.Client
    teller: OutboxTeller
    outbox: Outbox
    notifier: Notifier
    policy: AlertPolicy
    links: ReleaseLinks

    def tell(self) -> None:
        """What the sensors do every half minute."""
        watch = self.world.watch
        watch.mind_deadlines()
        for notice in watch.news(0).notices:
            self.teller.tell(notice)
        drain(self.outbox, self.notifier, self.policy)

    def request(self) -> dict[str, Any]:
        """The request for a decision as the channel shows it."""
        return self.slack.shown(CHANNEL)[-1]

    def button(self, name: str) -> str:
        (actions,) = [block for block in self.request()["blocks"] if block["type"] == "actions"]
        return next(one["value"] for one in actions["elements"] if one["action_id"] == f"{name}_release")

    def click(self, name: str, user: str = ANNA, *, value: str | None = None) -> httpx.Response:
        message = self.request()
        return self.send(
            {
                "type": "block_actions",
                "user": {"id": user},
                "trigger_id": "T1",
                "container": {"channel_id": message["channel"], "message_ts": message["ts"]},
                "actions": [
                    {
                        "type": "button",
                        "action_id": f"{name}_release",
                        "block_id": "b",
                        "value": value or self.button(name),
                    }
                ],
            }
        )

    def give_reason(self, value: str, reason: str, user: str = ANNA) -> httpx.Response:
        return self.send(
            {
                "type": "view_submission",
                "user": {"id": user},
                "view": {
                    "type": "modal",
                    "callback_id": "reject_release_reason",
                    "private_metadata": value,
                    "state": {"values": {"reason": {"text": {"value": reason}}}},
                },
            }
        )

    def send(self, payload: dict[str, Any]) -> httpx.Response:
        return self.post(urlencode({"payload": json.dumps(payload)}).encode())

    def post(self, body: bytes, *, at: str | None = None, signature: str | None = None) -> httpx.Response:
        at = at if at is not None else str(int(time.time()))
        signed = hmac.new(SIGNING.encode(), f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
        headers = {
            "X-Slack-Request-Timestamp": at,
            "X-Slack-Signature": signature if signature is not None else f"v0={signed}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self.http.post("/slack/actions", content=body, headers=headers)

    def settled(self, release: Release, state: str) -> None:
        """Waits until a click, which is acknowledged first, has been carried out."""
        deadline = time.monotonic() + 60
        while self.world.states()[release.version] != state:
            assert time.monotonic() < deadline, f"it stays {self.world.states()[release.version]}"
            time.sleep(0.1)

    def told_no(self, user: str) -> str:
        """Waits until somebody was told that their click did nothing, and gives the words."""
        deadline = time.monotonic() + 60
        while not (found := [text for text in self.slack.direct(user) if "That was not done" in text]):
            assert time.monotonic() < deadline, f"{user} was told nothing"
            time.sleep(0.1)
        return found[0]

    def link(self, release: Release, reviewer: str) -> str:
        return self.links.token(release, reviewer)


@pytest.fixture
def office(world: World, slack: Slack, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office_]:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path))
    world.policy = ReviewerPolicy(
        reviewers=(Reviewer(name="anna", slack_id=ANNA), Reviewer(name="bert", slack_id=BERT)), proxy_header="X-Login"
    )
    links = ReleaseLinks(SECRET, hours=24)
    store = Store(FolderLocation(tmp_path / "store"), tmp_path / "scratch")
    app = build_app(Office(world.desk, store, links, "X-Login", LinkPolicy()), SlackSetup(TOKEN, SIGNING, slack.url))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    policy = AlertPolicy(
        slack=SlackPolicy(api_url=slack.url), links=LinkPolicy(releases=f"http://127.0.0.1:{port}/releases")
    )
    settings = Settings(
        alerts=policy,
        promotion={"reviewers": [one.model_dump() for one in world.policy.reviewers]},
        model={"name": world.ledger.model},
    )
    outbox = Outbox(world.ledger._url, model=world.ledger.model)
    teller = OutboxTeller(settings, world.ledger, outbox, store, links)
    notifier = Notifier(policy, tmp_path, {"SLACK_BOT_TOKEN": TOKEN})
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        yield Office_(world, slack, http, teller, outbox, notifier, policy, links)
    server.should_exit = True
    thread.join(20)


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


def _anna() -> Any:
    from fraud_retraining.domain.reviewers import Identity, Proof

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
    here = {"X-Login": "anna", "Origin": str(office.http.base_url).rstrip("/")}
    elsewhere = {**here, "Origin": "http://evil.example"}
    url = f"/releases/{waiting.version}"
    assert office.http.post(url, data=form).status_code == 403
    assert office.http.post(url, data=form, headers=elsewhere).status_code == 403
    assert office.http.post(url, data=form, headers={**here, "X-Login": "mallory"}).status_code == 403
    assert office.http.post(url, data={**form, "reason": ""}, headers=here).status_code == 400
    assert office.http.post(url, data=form, headers=here).status_code == 200
    release = office.world.ledger.release_by_version(waiting.version)
    assert (release.decided_by, release.decided_via, release.reason) == (
        "anna",
        "page, login proxy",
        "drift in amounts",
    )


def test_hostile_text_in_the_record_is_shown_and_not_run(office: Office_) -> None:
    waiting = office.world.waiting(0)
    office.world.desk.reject(waiting.version, _anna(), "<script>alert(1)</script>", channel="command line")
    page = office.http.get(f"/releases/{waiting.version}").text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
