"""Notices of releases, written to the outbox: requests with buttons, replies in their threads, and alarms.

Here: which message a notice of a release becomes. Not here: its text (`domain/release_messages/announcements.py`,
`domain/release_messages/slack_request.py`) and sending (`services/delivery.py`).
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from fraud_retraining.adapters.alerts.outbox import Outbox, Writing
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.pages.signed_links import ReleaseLinks
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.alerts.failures import Audience, Severity
from fraud_retraining.domain.alerts.notices import (
    SLACK,
    Action,
    Message,
    Notice,
    Topic,
    runbook_link,
    sentences,
)
from fraud_retraining.domain.alerts.routing import composer_of, opening_messages
from fraud_retraining.domain.alerts.slack_markup import SECTION, mrkdwn
from fraud_retraining.domain.audit.history import ReleaseHistory
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.release_messages.announcements import REFUTED, SHADOWED, WORSE, ReleaseNotice
from fraud_retraining.domain.release_messages.request import request_links, request_text
from fraud_retraining.domain.release_messages.slack_request import (
    decided_message,
    personal_link_message,
    request_message,
)
from fraud_retraining.domain.releases.release import ReleaseState
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.values.errors import RecordAltered
from fraud_retraining.services.release_messages import own_destination, read_with_report
from fraud_retraining.settings import Settings

FOLLOW = frozenset(
    {"reminder", "first_approval", "approved", "rejected", "expired", "superseded", "withdrawn", "promoted"}
)
"""Kinds of notices that are replies in the thread of the request."""

SEVERITIES = {
    "info": Severity.INFO,
    "warning": Severity.MEDIUM,
    "high": Severity.HIGH,
    "critical": Severity.CRITICAL,
}
CATEGORY = "release"
TOPICS = {REFUTED: Topic.PROMOTION_REFUTED, WORSE: Topic.PROMOTION_WORSE}
"""Kinds of notices with a topic, and a section of the runbook, of their own."""

Write = Callable[[Writing], object]


class ReleaseNotifier(Protocol):
    """Sends notices of releases; the same notice may come twice and is sent once."""

    def notify(self, notice: ReleaseNotice) -> None:
        """Accepts a notice for delivery."""


class OutboxReleaseNotifier:
    """Writes notices to the outbox: each once, even if several daemons bring it several times."""

    def __init__(
        self, settings: Settings, ledger: Ledger, outbox: Outbox, store: Store, links: ReleaseLinks | None
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._outbox = outbox
        self._store = store
        self._links = links

    def notify(self, notice: ReleaseNotice) -> None:
        """Queues the messages in the transaction that records the notice as sent; the ledger is read before it."""
        self._outbox.write_once(
            EventKind.RELEASE_ANNOUNCED,
            subject=f"row {notice.seq}",
            payload={"kind": notice.kind, "title": notice.title},
            work=self._messages(notice),
            channel="outbox",
        )

    def _messages(self, notice: ReleaseNotice) -> Write:
        if notice.resolves:
            return lambda outbox: outbox.resolve(notice.dedup_key, notice.title)
        if notice.kind == "waiting":
            return self._request(notice)
        if notice.kind == SHADOWED:
            return self._add(notice)
        return self._follow(notice) if notice.kind in FOLLOW else self._alarm(notice)

    def _request(self, notice: ReleaseNotice) -> Write:
        """The request in the model channel, and each reviewer's own link as a direct message."""
        history, review_report = self._history(notice)
        shown = self._settings.alerts.links
        plain = self._notice(notice, _request_key(notice))
        value = plain.model_copy(update={"links": (*request_links(history.release, shown), *plain.links)})
        buttons, text = request_message(history, review_report, shown), request_text(history, review_report, shown)
        messages = [
            one.model_copy(
                update={"body": buttons if one.kind == SLACK else composer_of(one.kind).worded(one.body, text)}
            )
            for one in opening_messages(value, self._settings.alerts)
        ]
        messages += self._personal(history)
        return lambda outbox: outbox.open(value, messages)

    def _personal(self, history: ReleaseHistory) -> Iterator[Message]:
        base = self._settings.alerts.links.releases
        if self._links is None or base is None or self._settings.alerts.slack is None:
            return
        for reviewer in self._settings.promotion.reviewers:
            destination = own_destination(reviewer)
            if destination is not None:
                body = personal_link_message(history.release, reviewer.name)
                yield Message(destination=destination, action=Action.OPEN, body=body)

    def _follow(self, notice: ReleaseNotice) -> Write:
        """A reply in the request's thread; once it is decided, the request itself loses its buttons."""
        key, (history, review_report) = _request_key(notice), self._history(notice)
        summary = sentences(notice.title, notice.text)
        remedy = f" {notice.remedy}" if notice.remedy else ""
        decided = decided_message(history, review_report, self._settings.alerts.links, summary)
        is_over = history.release.state is not ReleaseState.AWAITING_APPROVAL
        alarm = self._alarm(notice)

        def work(outbox: Writing) -> None:
            if is_over:
                outbox.update(key, decided, summary)
                outbox.resolve(key, notice.title, messages=())
            if not outbox.reply(key, {"text": mrkdwn(f"{summary}{remedy}", SECTION)}, f"{summary}{remedy}"):
                alarm(outbox)

        return work

    def _add(self, notice: ReleaseNotice) -> Write:
        """A reply in the request's thread, for who decides; where nothing was requested there is nobody to tell."""
        said = sentences(notice.title, notice.text)
        return lambda outbox: outbox.reply(_request_key(notice), {"text": mrkdwn(said, SECTION)}, said)

    def _alarm(self, notice: ReleaseNotice) -> Write:
        """A separate message; an event that no later success resolves does not stay open."""
        value = self._notice(notice, notice.dedup_key)
        messages = opening_messages(value, self._settings.alerts)

        def work(outbox: Writing) -> None:
            outbox.open(value, messages)
            # No success resolves these; an open notice would swallow the next one with the same key.
            if notice.severity != "critical" or notice.kind in ("rolled_back", "alias_moved"):
                outbox.resolve(notice.dedup_key, notice.title, messages=())

        return work

    def _notice(self, notice: ReleaseNotice, key: str) -> Notice:
        severity, category = SEVERITIES[notice.severity], TOPICS.get(notice.kind, CATEGORY)
        return Notice(
            key=key,
            model=self._settings.recorded_as,
            category=category,
            severity=severity,
            audience=Audience.ONCALL if severity is Severity.CRITICAL else Audience.MODEL,
            title=notice.title,
            why=(notice.text,) if notice.text else (),
            serving=self._serving(),
            todo=notice.remedy,
            links=(runbook_link(category, self._settings.alerts.links),),
        )

    def _serving(self) -> str:
        try:
            champion = self._ledger.champion()
        except RecordAltered:
            return "unknown: the ledger was altered, so it cannot say which version serves"
        return f"version {champion.version} as of {champion.as_of}" if champion else "no version of this pipeline"

    def _history(self, notice: ReleaseNotice) -> tuple[ReleaseHistory, ReviewReport | None]:
        assert notice.version is not None
        return read_with_report(self._ledger, self._store, notice.version)


def _request_key(notice: ReleaseNotice) -> str:
    return f"release {notice.version} waiting"
