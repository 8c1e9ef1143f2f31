"""The end of each retrain is in the ledger once, with its time and cost."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.processes import this_process
from fraud_retraining.domain.retraining.budget import BudgetPolicy, Ending
from fraud_retraining.domain.retraining.lease_rules import Lease, Owner, Purpose
from fraud_retraining.orchestration.runs.spending import (
    FinishedRetrain,
    past_spendings,
    record_finished,
    record_lost,
)

AS_OF = date(2026, 11, 23)
BUDGET = BudgetPolicy(price_per_hour=36)
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def test_time_by_stage_and_cost_are_recorded(ledger: Ledger) -> None:
    retrain = FinishedRetrain("a", "promoted", 100.00049, "drift", AS_OF, stages={"fraud_model": 60.1234567})
    record_finished(ledger, BUDGET, retrain)
    (spent,) = past_spendings(ledger)
    assert (spent.as_of, spent.spending.seconds, spent.spending.stages) == (AS_OF, 100.0, {"fraud_model": 60.123})
    assert spent.spending.cost == pytest.approx(1.000005, abs=1e-6)


def test_the_first_record_of_a_run_counts_and_a_second_one_changes_nothing(ledger: Ledger) -> None:
    assert record_finished(ledger, BUDGET, FinishedRetrain("a", "lost", 1, "manual")) is not None
    assert record_finished(ledger, BUDGET, FinishedRetrain("a", "promoted", 2, "manual")) is None
    assert [spent.spending.status for spent in past_spendings(ledger)] == ["lost"]


def lease_until(seen: datetime, **more: object) -> Lease:
    times = {"taken_at": NOW, "seen_at": seen, "expires_at": seen}
    held = {"name": "retrain", "token": 1, **times, "purpose": Purpose(as_of=AS_OF, trigger="drift")}
    return Lease.model_validate({**held, **more})


def test_a_lost_retrain_costs_the_time_until_its_last_heartbeat(ledger: Ledger) -> None:
    owner = Owner(run_id="dead", process=this_process())
    record_lost(ledger, BUDGET, lease_until(NOW + timedelta(seconds=90), owner=owner))
    (spent,) = past_spendings(ledger)
    assert (spent.spending.status, spent.spending.seconds, spent.spending.trigger) == (Ending.LOST, 90.0, "drift")


def test_a_lease_of_a_clean_up_or_without_an_owner_is_no_retrain(ledger: Ledger) -> None:
    owner = Owner(run_id="cleaning", process=this_process())
    assert record_lost(ledger, BUDGET, lease_until(NOW, owner=owner, purpose=Purpose(work="clean"))) is None
    assert record_lost(ledger, BUDGET, lease_until(NOW, owner=None)) is None
    assert past_spendings(ledger) == []
