"""Routing of notices: their destinations, and the messages for their beginning, repetition and end.

Here: the list of composers and which of them gets a notice. Not here: the form of a message (one module each,
`slack.py`, `pagerduty.py`, ...), what a notice says (`notices.py`) and sending (`adapters/alerts/`).
"""

from collections.abc import Sequence

from fraud_retraining.domain.alerts.composer import Composer
from fraud_retraining.domain.alerts.file import FileComposer
from fraud_retraining.domain.alerts.mail import EmailComposer
from fraud_retraining.domain.alerts.notices import FILE, Action, AlertPolicy, Message, Notice, kind_of
from fraud_retraining.domain.alerts.pagerduty import PagerDutyComposer
from fraud_retraining.domain.alerts.slack import SlackComposer
from fraud_retraining.domain.alerts.webhook import WebhookComposer

FALLBACK = FileComposer()
Composers = Sequence[Composer]
COMPOSERS: Composers = (SlackComposer(), PagerDutyComposer(), EmailComposer(), WebhookComposer(), FALLBACK)


def composer_of(destination: str, composers: Composers = COMPOSERS) -> Composer:
    """Return the composer of a destination; that of the file for a kind that this version does not know."""
    return next((one for one in composers if one.kind == kind_of(destination)), FALLBACK)


def destinations(notice: Notice, policy: AlertPolicy, composers: Composers = COMPOSERS) -> tuple[str, ...]:
    """Return the destinations of a notice: every one that is on and takes it, else the file."""
    found = [address for one in composers if one.is_on(policy) for address in one.addresses(notice, policy)]
    return tuple(dict.fromkeys(found)) or (FILE,)


def opening_messages(notice: Notice, policy: AlertPolicy, composers: Composers = COMPOSERS) -> tuple[Message, ...]:
    """Return the first messages of a notice, one a destination."""
    return tuple(
        Message(
            destination=destination,
            action=Action.OPEN,
            body=composer_of(destination, composers).opening(notice, policy),
        )
        for destination in destinations(notice, policy, composers)
    )


def escalation_message(notice: Notice, policy: AlertPolicy, composers: Composers = COMPOSERS) -> Message | None:
    """Return the page for a notice that could not be delivered otherwise; None where no destination pages."""
    pager = next((one for one in composers if one.pages and one.is_on(policy)), None)
    if pager is None:
        return None
    return Message(destination=pager.kind, action=Action.OPEN, body=pager.opening(notice, policy))


def update_messages(
    notice: Notice, policy: AlertPolicy, seen: int, composers: Composers = COMPOSERS
) -> tuple[Message, ...]:
    """Return the changes of sent messages whose notice was seen for the n-th time; no recipient is notified again."""
    changed = {
        destination: composer_of(destination, composers).reminding(notice, seen)
        for destination in destinations(notice, policy, composers)
    }
    return tuple(
        Message(destination=destination, action=Action.UPDATE, body=body)
        for destination, body in changed.items()
        if body is not None
    )


def closing_messages(
    notice: Notice, sent_to: Sequence[str], why: str, seen: int = 1, composers: Composers = COMPOSERS
) -> tuple[Message, ...]:
    """Return the messages that end a notice at every destination that it was sent to: same thread, same incident."""
    return tuple(
        Message(destination=destination, action=action, body=body)
        for destination in sent_to
        for action, body in composer_of(destination, composers).resolving(notice, why, seen)
    )
