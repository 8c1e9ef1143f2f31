"""What retrains took, in the ledger: one entry for each that ended, however it ended.

Here: writing and reading those entries. Not here: what a retrain may take (`domain/retraining/budget.py`).
"""

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.retraining.budget import BudgetPolicy, Ending, Spending, Spent
from fraud_retraining.domain.retraining.leases import Lease

CHANNEL = "dagster"


def record_finished(
    ledger: Ledger,
    budget: BudgetPolicy,
    *,
    dagster_run_id: str,
    status: str,
    seconds: float,
    trigger: str,
    as_of: date | None = None,
    error: str | None = None,
    stages: Mapping[str, float] = MappingProxyType({}),
) -> Event | None:
    """Enter the end of a retrain; of several who tell of the same run the first is believed."""
    spending = Spending(
        dagster_run_id=dagster_run_id,
        trigger=trigger,
        status=status,
        error=error,
        seconds=round(seconds, 3),
        cost=round(budget.cost(seconds), 6),
        stages={name: round(spent, 3) for name, spent in stages.items()},
    )
    return ledger.append_once(
        EventKind.RETRAIN_FINISHED,
        keys=EventKeys(subject=dagster_run_id, as_of=as_of),
        payload=spending.model_dump(mode="json"),
        actor="pipeline",
        channel=CHANNEL,
    )


def record_lost(ledger: Ledger, budget: BudgetPolicy, lease: Lease) -> Event | None:
    """Enter the end of a retrain whose worker died or fell silent, so that its lease is abandoned."""
    if lease.owner is None or lease.purpose.work != "retrain":
        return None
    return record_finished(
        ledger,
        budget,
        dagster_run_id=lease.owner.run_id,
        status=Ending.LOST,
        seconds=(lease.seen_at - lease.taken_at).total_seconds(),
        trigger=lease.purpose.trigger,
        as_of=lease.purpose.as_of,
    )


def past_spendings(ledger: Ledger) -> list[Spent]:
    """Every retrain that ended, oldest first."""
    return [
        Spent(event.at, event.as_of, Spending.model_validate(event.payload))
        for event in ledger.events(EventKind.RETRAIN_FINISHED)
    ]
