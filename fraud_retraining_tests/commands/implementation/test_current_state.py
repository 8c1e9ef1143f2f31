"""Results of the last retrains, as `status` reads them from the ledger, and its words on labels."""

from datetime import date
from pathlib import Path

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.releases import NewRelease
from fraud_retraining.commands.implementation.current_state import LabelState, former_models, last_retrains
from fraud_retraining.domain.labels.feed_health import Reporting
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.orchestration.resources import ledger_named, open_ledger
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import AS_OF, ProjectHome

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


def test_a_waiting_version_of_a_model_that_the_settings_do_not_name_is_said_and_can_be_rejected(
    project: ProjectHome,
) -> None:
    project.configure(models=[{"name": "de"}])
    settings = load_settings()
    former = ledger_named(open_ledger(settings), "fr")
    new = NewRelease(2, "f2", AS_OF, trigger="schedule", artifact_digest="d", verdict_passed=True, verdict_digest="v")
    former.open_release(new, actor="pipeline", channel="test")
    former.await_decision(2, hours=24, actor="pipeline", channel="test")
    (found,) = former_models(open_ledger(settings), settings)
    assert found.waits
    assert "model fr (version 2 awaits approval), which the settings do not name" in found.sentence
    assert not list(former_models(open_ledger(settings), settings.of_former("fr")))
    code, answer, _ = run("audit", "list", "--model", "fr")
    assert code == 0 and len(answer["events"]) == 2
    assert run("approve", "2", "--model", "fr", "--by", "ann")[0] == 2, "nothing of it may begin to serve"
    code, answer, _ = run("reject", "2", "--model", "fr", "--by", "ann", "--reason", "its entry is gone")
    assert (code, answer["state"]) == (0, "rejected")
    assert not list(former_models(open_ledger(settings), settings))
    assert run("reject", "2", "--model", "it", "--by", "ann", "--reason", "a typo")[0] == 2


def test_status_names_labels_that_may_point_to_a_fault_of_the_feed() -> None:
    reporting = Reporting(day=FIRST, frauds=4, usual_frauds=5, delay=None, usual_delay=None)
    repeated = {"known before": 9, "a later label of the same day counts": 2}
    state = LabelState(known_until=FIRST, reporting=reporting, known_within={}, kept_aside=repeated)
    assert "kept aside" not in state.summary(), "a feed's daily life"
    odd = state.model_copy(update={"kept_aside": {**repeated, "unknown transaction": 1200}})
    assert odd.summary().endswith("; labels of 30 days kept aside: unknown transaction 1,200")
