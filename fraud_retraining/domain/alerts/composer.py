"""Protocol of a composer: it renders a notice in the form that one kind of destination takes.

Here: the protocol and its defaults. Not here: the destinations (one module each beside this
one), the list of them (`routing.py`) and sending (`adapters/alerts/`).
"""

from collections.abc import Mapping
from typing import Any, Protocol

from fraud_retraining.domain.alerts.notices import Action, AlertPolicy, Notice

Body = dict[str, Any]


class Composer(Protocol):
    """Rendering of notices for one kind of destination. What it returns is stored as JSON until it is sent."""

    kind: str
    """Start of its destinations' names: `KIND` or `KIND:ADDRESS`. Stored messages hold it, so it never changes."""
    escalates: bool = False
    """Whether a notice that is not delivered in time goes to a destination that pages."""
    pages: bool = False
    """Whether it pages a person: it has one address, its kind, and gets no notice that is over already."""

    def is_on(self, policy: AlertPolicy) -> bool:
        """Whether the settings turn it on."""
        ...

    def addresses(self, notice: Notice, policy: AlertPolicy) -> tuple[str, ...]:
        """Names of the destinations that a notice goes to; called only where the composer is on."""
        ...

    def opening(self, notice: Notice, policy: AlertPolicy) -> Body:
        """Body of the first message of a notice."""
        ...

    def reminding(self, notice: Notice, seen: int) -> Body | None:
        """Body that replaces the first message when a notice is seen for the n-th time; None leaves it as it is."""
        return None

    def resolving(self, notice: Notice, why: str, seen: int) -> tuple[tuple[Action, Body], ...]:
        """Actions and bodies of the messages that end a notice."""
        ...

    def following(self, notice: Notice, action: Action, body: Mapping[str, Any], text: str) -> Body | None:
        """Body for a change or a reply that was composed for Slack, with the plain words `text`; None sends nothing."""
        return None

    def worded(self, body: Body, text: str) -> Body:
        """The first message with other words, of several lines."""
        return body
