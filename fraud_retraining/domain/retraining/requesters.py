"""Requester and channel of a retrain, as the program itself determined them.

Here: the recorded request, made from a decision of automation or from what a person did. Not here: finding out who
runs a command (`adapters/storage/accounts.py`) and reading a run's tags (`orchestration/runs/requests.py`).

A tag or an option is only text that a person typed. A retrain counts as automatic only if the ledger holds a decision
of automation for that as-of day that no other run has used; every other retrain counts as requested by a person.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

from pydantic import Field

from fraud_retraining.domain.ledger.events import Event
from fraud_retraining.domain.values.base import Value

AUTOMATION = "automation"
UNKNOWN = "somebody in the Dagster UI"
"""Stored name. Dagster has no login: the person who launched a run there is unknown, and its tags prove nothing."""

COMMAND_LINE, DAGSTER_UI = "command line", "Dagster UI"


class Requester(Value):
    """A person who requests a retrain, and the channel."""

    name: str = Field(min_length=1, description="Account of the operating system, or that it is unknown.")
    channel: str = Field(min_length=1)


BY_UI = Requester(name=UNKNOWN, channel=DAGSTER_UI)


class RetrainRequest(Value):
    """A recorded request for a retrain."""

    actor: str
    channel: str
    requested_by: str = Field(description="The person who requested it; empty for automation.")
    automatic: bool = Field(description="Whether automation had decided on this retrain by itself.")
    trigger: str = Field(description="Trigger; of a person's request, the word that they gave.")
    reason: str = ""
    decided: str | None = Field(None, description="The decision of automation that it carries out.")
    inputs: str | None = None
    drift_since: str | None = None

    @property
    def payload(self) -> dict[str, Any]:
        """The request as payload of its event."""
        fields = self.model_dump(exclude={"actor", "channel"})
        return {name: value for name, value in fields.items() if value is not None}


def request_of(
    decision: Event | None, used: bool, as_of: date | None, requester: Requester, trigger: str, reason: str
) -> RetrainRequest:
    """Return the record of a request.

    Args:
        decision: the decision of automation that the run claims to carry out; None if the ledger has none.
        used: whether another run has carried out that decision.
        as_of: the as-of day of the run.
        requester: the person who requests it, if it is not automation.
        trigger: the word that a person gave.
        reason: the reason that a person gave.
    """
    # A decision counts once and for its day: else a person could run it again, and approve the result as automation's.
    if decision is None or used or decision.as_of != as_of:
        return RetrainRequest(
            actor=requester.name,
            channel=requester.channel,
            requested_by=requester.name,
            automatic=False,
            trigger=trigger,
            reason=reason,
        )
    copied = {name: decision.payload.get(name) for name in ("trigger", "reason", "inputs", "drift_since")}
    about = {"decided": decision.subject, "requested_by": "", "automatic": True}
    return RetrainRequest(actor=AUTOMATION, channel=decision.channel, **about, **copied)


def recorded_request(event: Event | None) -> RetrainRequest:
    """Return the recorded request of a run; for a run without one, a request by an unknown person."""
    if event is None:
        return request_of(None, False, None, BY_UI, "manual", "")
    payload: Mapping[str, Any] = event.payload
    return RetrainRequest(
        actor=event.actor,
        channel=event.channel,
        requested_by=payload.get("requested_by", event.actor),
        automatic=payload.get("automatic", False),
        trigger=str(payload.get("trigger", "")),
        reason=str(payload.get("reason", "")),
    )
