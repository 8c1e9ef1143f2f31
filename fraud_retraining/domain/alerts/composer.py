"""What a destination has to know to put a notice into words of its own.

Here: the protocol, and what most destinations have in common. Not here: the destinations (one module each beside this
one), the list of them (`routing.py`) and sending (`adapters/alerts/`).
"""

from collections.abc import Mapping
from typing import Any, Protocol

from fraud_retraining.domain.alerts.notices import Action, AlertPolicy, Notice

Body = dict[str, Any]


class Composer(Protocol):
    """How one sort of destination tells of a notice. What it gives is stored as JSON until it is sent."""

    kind: str
    """What its destinations' names begin with: `KIND` or `KIND:ADDRESS`. Stored messages keep it for ever."""
    escalates: bool = False
    """Whether a notice that it does not take in time goes to a destination that pages."""
    pages: bool = False
    """Whether it wakes somebody: it has one address, its kind, and is told of nothing that is over already."""

    def is_on(self, policy: AlertPolicy) -> bool:
        """Whether the settings turn it on."""
        ...

    def addresses(self, notice: Notice, policy: AlertPolicy) -> tuple[str, ...]:
        """The names of the destinations that a notice goes to; asked only where it is on."""
        ...

    def opening(self, notice: Notice, policy: AlertPolicy) -> Body:
        """What tells of a notice."""
        ...

    def reminding(self, notice: Notice, seen: int) -> Body | None:
        """What takes the place of the opening when a notice is seen for the n-th time; None leaves it as it is."""
        return None

    def resolving(self, notice: Notice, why: str, seen: int) -> tuple[tuple[Action, Body], ...]:
        """What tells of its end."""
        ...

    def following(self, notice: Notice, action: Action, body: Mapping[str, Any], text: str) -> Body | None:
        """What becomes of a change or a reply that somebody composed for Slack, whose plain words are `text`."""
        return None

    def worded(self, body: Body, text: str) -> Body:
        """An opening that says it in those words, of several lines."""
        return body
