"""The app of releases over real HTTP, with real parts behind it and Slack beside it.

The fixture `office` stands in `release_app_fixtures.py`.
"""

import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx

from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.pages.signed_links import ReleaseLinks
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.alerts.notices import AlertPolicy
from fraud_retraining.domain.releases.release import Release
from fraud_retraining.orchestration.release_notifier import OutboxReleaseNotifier
from fraud_retraining.services.delivery import Notifier, drain
from fraud_retraining_tests.support.approvals_fixture import Backend
from fraud_retraining_tests.support.reviewers import Slack

SIGNING, SECRET = "a signing secret", "a secret that is long enough to sign links with"
PROXY_SECRET = "what only the login proxy knows, and sends"
ANNA, BERT, EVE = "U0ANNA", "U0BERT", "U0EVE"
CHANNEL = "#ml-alerts"


class Reviewed_(NamedTuple):
    """A ledger with a history, with the app in front of it."""

    address: str
    ledger: Ledger
    store: Store
    links: ReleaseLinks

    def page(self, version: int = 4, reviewer: str | None = "anna") -> str:
        """The address of a version's page, by a reviewer's link or by none."""
        base = f"{self.address}/releases"
        release = self.ledger.release_by_version(version)
        assert release is not None
        return self.links.url(base, release, reviewer) if reviewer else f"{base}/{version}"


@dataclass
class Site_:
    """Real parts with an app in front of them, Slack beside them, and a notifier that uses both."""

    backend: Backend
    slack: Slack
    http: httpx.Client
    release_notifier: OutboxReleaseNotifier
    outbox: Outbox
    notifier: Notifier
    policy: AlertPolicy
    links: ReleaseLinks

    def notify(self) -> None:
        """Do what the sensors do every half minute."""
        watch = self.backend.watch
        watch.check_deadlines()
        for notice in watch.notices_after(0).notices:
            self.release_notifier.notify(notice)
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
        while self.backend.states()[release.version] != state:
            assert time.monotonic() < deadline, f"it stays {self.backend.states()[release.version]}"
            time.sleep(0.1)

    def refusal_sent_to(self, user: str) -> str:
        """Wait for the message that the click of a user did nothing, and return it."""
        deadline = time.monotonic() + 60
        while not (found := [text for text in self.slack.direct(user) if "That was not done" in text]):
            assert time.monotonic() < deadline, f"{user} got no message"
            time.sleep(0.1)
        return found[0]

    def link(self, release: Release, reviewer: str) -> str:
        return self.links.token(release, reviewer)
