"""Which destinations a notice goes to, and the messages that tell each of its beginning, its repetition and its end.

Here: the list of destinations as far as they put a notice into words, and who of them is told. Not here: the words (one
module each, `slack.py`, `pagerduty.py`, ...), what a notice says (`notices.py`) and sending (`adapters/alerts/`).
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
    """Who composes for a destination; the file for one that this version does not know."""
    return next((one for one in composers if one.kind == kind_of(destination)), FALLBACK)


def destinations(notice: Notice, policy: AlertPolicy, composers: Composers = COMPOSERS) -> tuple[str, ...]:
    """Where a notice goes: to every destination that is on and wants it, else to the file."""
    found = [address for one in composers if one.is_on(policy) for address in one.addresses(notice, policy)]
    return tuple(dict.fromkeys(found)) or (FILE,)


def opening_messages(notice: Notice, policy: AlertPolicy, composers: Composers = COMPOSERS) -> tuple[Message, ...]:
    """The messages that tell of a notice, one a destination."""
    return tuple(
        Message(
            destination=destination,
            action=Action.OPEN,
            body=composer_of(destination, composers).opening(notice, policy),
        )
        for destination in destinations(notice, policy, composers)
    )


def escalation_message(notice: Notice, policy: AlertPolicy, composers: Composers = COMPOSERS) -> Message | None:
    """The message that wakes somebody for a notice that could not be delivered otherwise; none where nothing pages."""
    pager = next((one for one in composers if one.pages and one.is_on(policy)), None)
    if pager is None:
        return None
    return Message(destination=pager.kind, action=Action.OPEN, body=pager.opening(notice, policy))


def update_messages(
    notice: Notice, policy: AlertPolicy, seen: int, composers: Composers = COMPOSERS
) -> tuple[Message, ...]:
    """The change of a message whose notice was seen for the n-th time; nobody is told anew."""
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
    notice: Notice, told_at: Sequence[str], why: str, seen: int = 1, composers: Composers = COMPOSERS
) -> tuple[Message, ...]:
    """The messages that tell of a notice's end at every destination that was told of it: same thread, same incident."""
    return tuple(
        Message(destination=destination, action=action, body=body)
        for destination in told_at
        for action, body in composer_of(destination, composers).resolving(notice, why, seen)
    )
