"""By whom and by which way a retrain was asked for, as the program itself found it out.

Here: what is recorded of a request, from what automation had decided or from what a person did. Not here: finding out
who runs a command (`adapters/storage/accounts.py`) and reading a run's tags (`orchestration/runs/requests.py`).

A tag or an option is what somebody typed. A retrain is automation's own only if the record holds automation's decision
for it, of that as-of day, which no other run has used; everything else was asked for by a person, whatever it says.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

from pydantic import Field

from fraud_retraining.domain.ledger.events import Event
from fraud_retraining.domain.values.base import Value

AUTOMATION = "automation"
UNKNOWN = "somebody in the Dagster UI"
"""Dagster has no login: who launched a run there is not known, whatever its tags say."""

COMMAND_LINE, DAGSTER_UI = "command line", "Dagster UI"


class Requester(Value):
    """A person who asks for a retrain, and the way that they came by."""

    name: str = Field(min_length=1, description="Account of the operating system, or that nobody knows.")
    channel: str = Field(min_length=1)


BY_UI = Requester(name=UNKNOWN, channel=DAGSTER_UI)


class RetrainRequest(Value):
    """A request as it is recorded."""

    actor: str
    channel: str
    requested_by: str = Field(description="The person who asked; empty for automation.")
    automatic: bool = Field(description="Whether automation had decided on this retrain by itself.")
    trigger: str = Field(description="Why; of a person's request, the word that they gave.")
    reason: str = ""
    decided: str | None = Field(None, description="The decision of automation that it carries out.")
    inputs: str | None = None
    drift_since: str | None = None

    @property
    def payload(self) -> dict[str, Any]:
        """It as the event's payload."""
        told = self.model_dump(exclude={"actor", "channel"})
        return {name: value for name, value in told.items() if value is not None}


def request_of(
    decision: Event | None, used: bool, as_of: date | None, asker: Requester, trigger: str, reason: str
) -> RetrainRequest:
    """What is recorded of a run that asks for a retrain.

    Args:
        decision: what automation decided, which the run says that it carries out; None if the record has none.
        used: whether another run has carried it out.
        as_of: the as-of day of the run.
        asker: the person who asks, unless it is automation.
        trigger: the word that a person gave.
        reason: the reason that a person gave.
    """
    if decision is None or used or decision.as_of != as_of:
        return RetrainRequest(
            actor=asker.name,
            channel=asker.channel,
            requested_by=asker.name,
            automatic=False,
            trigger=trigger,
            reason=reason,
        )
    told = {name: decision.payload.get(name) for name in ("trigger", "reason", "inputs", "drift_since")}
    about = {"decided": decision.subject, "requested_by": "", "automatic": True}
    return RetrainRequest(actor=AUTOMATION, channel=decision.channel, **about, **told)


def recorded_request(event: Event | None) -> RetrainRequest:
    """The request that a run was recorded with; of a run without one, that nobody knows who asked."""
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
