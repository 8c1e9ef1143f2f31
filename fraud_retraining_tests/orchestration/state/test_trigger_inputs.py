"""Inputs of a decision: a retrain under way is found, in this Dagster or another one."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.processes import this_process
from fraud_retraining.domain.alerts.failures import Category
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.lease_rules import Owner, Purpose
from fraud_retraining.domain.retraining.triggers.values import Trigger
from fraud_retraining.orchestration.state.trigger_inputs import answered_days, answers_to, running, unfinished
from fraud_retraining.settings import Settings

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
    found = running(instance, ledger, Settings())
    assert found is not None
    assert found.as_of == AS_OF
    assert "run elsewhere" in found.by


@pytest.mark.parametrize("cleaning", [True, False], ids=["cleaning up", "nothing"])
def test_nothing_is_under_way_while_no_retrain_runs(
    instance: dg.DagsterInstance, ledger: Ledger, cleaning: bool
) -> None:
    if cleaning:
        holds(ledger, Purpose(work="clean"))
    assert running(instance, ledger, Settings()) is None


def requested(ledger: Ledger, as_of: date, trigger: str, **more: str) -> str:
    """A retrain that automation requested."""
    run_id = f"run of {as_of}"
    payload = {"trigger": trigger, "reason": "why", "inputs": "abc", "dagster_run_id": run_id, **more}
    ledger.append(
        EventKind.RETRAIN_REQUESTED, keys=EventKeys(subject=run_id, as_of=as_of), actor="automation", payload=payload
    )
    return run_id


def failed(ledger: Ledger, as_of: date, run_id: str, category: Category, kind: str = "RuntimeError") -> None:
    payload = {"kind": kind, "category": category, "cause": str(category), "dagster_run_id": run_id, "trigger": "x"}
    ledger.append(
        EventKind.RETRAIN_FAILED, keys=EventKeys(subject=run_id, as_of=as_of), actor="pipeline", payload=payload
    )


LATER = AS_OF + timedelta(days=1)


@pytest.mark.parametrize("trigger", [Trigger.DRIFT, Trigger.PERFORMANCE, Trigger.LABELS])
def test_a_request_is_answered_by_an_outcome_and_not_by_the_request(ledger: Ledger, trigger: Trigger) -> None:
    run_id = requested(ledger, AS_OF, f"schedule+{trigger}", drift_since="2026-11-20")
    requests = list(ledger.events(EventKind.RETRAIN_REQUESTED))
    assert answers_to(requests, trigger, answered_days(ledger)) is None, "it is only requested"
    failed(ledger, AS_OF, run_id, Category.DATA_VALIDATION)
    assert answers_to(requests, trigger, answered_days(ledger)) is None, "it failed"
    failed(ledger, LATER, "another run", Category.GATE_FAILED, kind="GateFailed")
    found = answers_to(requests, trigger, answered_days(ledger))
    assert found is not None
    assert found.answered == LATER, "a later retrain came to an answer"
    assert found.request.payload["drift_since"] == "2026-11-20"


@pytest.mark.parametrize("trigger", list(Trigger))
def test_a_retrain_that_died_is_left_unfinished_for_every_trigger(ledger: Ledger, trigger: Trigger) -> None:
    failed(ledger, AS_OF, requested(ledger, AS_OF, trigger), Category.WORKER_DIED)
    found = unfinished(ledger, None)
    assert found is not None
    assert (found.as_of, found.triggers, found.reason, found.cause) == (AS_OF, (trigger,), "why", "worker_died")
    assert unfinished(ledger, AS_OF) is None, "it was answered"


def test_what_cannot_succeed_as_it_is_is_not_left_unfinished(ledger: Ledger) -> None:
    failed(ledger, AS_OF, requested(ledger, AS_OF, "drift"), Category.DATA_VALIDATION)
    assert unfinished(ledger, None) is None
