"""Results of the last retrains, as `status` reads them from the ledger, and its words on labels."""

from datetime import date
from pathlib import Path

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.commands.implementation.current_state import LabelState, last_retrains
from fraud_retraining.domain.labels.feed_health import Reporting
from fraud_retraining.domain.ledger.events import EventKind

FIRST, SECOND = date(2024, 3, 1), date(2024, 3, 2)


def results(tmp_path: Path, *events: tuple[EventKind, date, dict[str, str]]) -> list[tuple[date, str]]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    for kind, as_of, payload in events:
        ledger.append(kind, actor="ada", keys=EventKeys(as_of=as_of), payload=payload)
    return [(retrain.as_of, retrain.came_to) for retrain in last_retrains(ledger)]


def test_a_retrain_has_the_result_of_its_own_as_of_day(tmp_path: Path) -> None:
    assert results(
        tmp_path,
        (EventKind.RETRAIN_REQUESTED, SECOND, {"trigger": "backfill"}),
        (EventKind.RETRAIN_REQUESTED, FIRST, {"trigger": "backfill"}),
        (EventKind.RETRAIN_SKIPPED, FIRST, {"what": "another retrain is under way"}),
        (EventKind.RETRAIN_FAILED, SECOND, {"what": "days cannot be used"}),
        (EventKind.RETRAIN_FINISHED, SECOND, {"status": "failed"}),
    ) == [(SECOND, "days cannot be used"), (FIRST, "another retrain is under way")]


def test_a_retrain_without_an_event_of_its_own_has_no_outcome_yet(tmp_path: Path) -> None:
    assert results(
        tmp_path,
        (EventKind.RETRAIN_REQUESTED, FIRST, {"trigger": "manual"}),
        (EventKind.RETRAIN_FINISHED, FIRST, {"status": "already_trained"}),
        (EventKind.RETRAIN_REQUESTED, FIRST, {"trigger": "manual"}),
    ) == [(FIRST, "already trained"), (FIRST, "no outcome yet")]


def test_status_names_labels_that_may_point_to_a_fault_of_the_feed() -> None:
    reporting = Reporting(day=FIRST, frauds=4, usual_frauds=5, delay=None, usual_delay=None)
    repeated = {"known before": 9, "a later label of the same day counts": 2}
    state = LabelState(known_until=FIRST, reporting=reporting, known_within={}, kept_aside=repeated)
    assert "kept aside" not in state.summary(), "a feed's daily life"
    odd = state.model_copy(update={"kept_aside": {**repeated, "unknown transaction": 1200}})
    assert odd.summary().endswith("; labels of 30 days kept aside: unknown transaction 1,200")
