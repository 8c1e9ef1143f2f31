"""What a decision rests on: a retrain under way is seen, whoever runs it."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from fraud_retraining.adapters.ledger import Ledger
from fraud_retraining.adapters.processes import this_process
from fraud_retraining.domain.leases import Owner, Purpose
from fraud_retraining.orchestration.knowledge import running

AS_OF = date(2026, 11, 23)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def holds(ledger: Ledger, purpose: Purpose) -> None:
    ledger.retrain_lease().take(Owner(run_id="elsewhere", process=this_process()), purpose)


def test_a_retrain_that_another_dagster_runs_is_under_way_too(instance: dg.DagsterInstance, ledger: Ledger) -> None:
    holds(ledger, Purpose(as_of=AS_OF, trigger="schedule"))
    found = running(instance, ledger)
    assert found is not None
    assert found.as_of == AS_OF
    assert "run elsewhere" in found.by


@pytest.mark.parametrize("cleaning", [True, False], ids=["cleaning up", "nothing"])
def test_nothing_is_under_way_where_nobody_retrains(
    instance: dg.DagsterInstance, ledger: Ledger, cleaning: bool
) -> None:
    if cleaning:
        holds(ledger, Purpose(work="clean"))
    assert running(instance, ledger) is None
