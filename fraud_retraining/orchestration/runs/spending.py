"""Time and cost of retrains in the ledger: one entry for each that ended, however it ended.

Here: writing and reading those entries. Not here: the budget of a retrain (`domain/retraining/budget.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.retraining.budget import BudgetPolicy, Ending, Spending, Spent
from fraud_retraining.domain.retraining.lease_rules import Lease

CHANNEL = "dagster"


@dataclass(frozen=True)
class FinishedRetrain:
    """A retrain that ended: its seconds, in all and by stage, and the kind of error that ended it, if one did."""

    dagster_run_id: str
    status: str
    seconds: float
    trigger: str
    as_of: date | None = None
    error: str | None = None
    stages: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


def record_finished(ledger: Ledger, budget: BudgetPolicy, retrain: FinishedRetrain) -> Event | None:
    """Record the end of a retrain; None where the end of the same run is recorded already."""
    spending = Spending(
        dagster_run_id=retrain.dagster_run_id,
        trigger=retrain.trigger,
        status=retrain.status,
        error=retrain.error,
        seconds=round(retrain.seconds, 3),
        cost=round(budget.cost(retrain.seconds), 6),
        stages={name: round(spent, 3) for name, spent in retrain.stages.items()},
    )
    # Once a run: worker, successor and clean-up may all report the same end, and the budget must count it once.
    return ledger.append_once(
        EventKind.RETRAIN_FINISHED,
        keys=EventKeys(subject=retrain.dagster_run_id, as_of=retrain.as_of),
        payload=spending.model_dump(mode="json"),
        actor="pipeline",
        channel=CHANNEL,
    )


def record_lost(ledger: Ledger, budget: BudgetPolicy, lease: Lease) -> Event | None:
    """Record the end of a retrain whose worker died or stopped its heartbeat, so that its lease is abandoned."""
    if lease.owner is None or lease.purpose.work != "retrain":
        return None
    lost = FinishedRetrain(
        dagster_run_id=lease.owner.run_id,
        status=Ending.LOST,
        # Up to its last sign of life: when exactly it died is not known.
        seconds=(lease.seen_at - lease.taken_at).total_seconds(),
        trigger=lease.purpose.trigger,
        as_of=lease.purpose.as_of,
    )
    return record_finished(ledger, budget, lost)


def past_spendings(ledger: Ledger) -> list[Spent]:
    """Every retrain that ended, oldest first."""
    return [
        Spent(event.at, event.as_of, Spending.model_validate(event.payload))
        for event in ledger.events(EventKind.RETRAIN_FINISHED)
    ]
