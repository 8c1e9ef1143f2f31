"""Budget and retention on the command line: what ends a retrain, what goes afterwards, and a champion that stays."""

from datetime import timedelta

import pytest

from fraud_retraining.adapters.ledger.processes import this_process
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.lease_rules import Owner, Purpose
from fraud_retraining_tests.support.command_line import champion, ledger, retrain, run
from fraud_retraining_tests.support.project_homes import AS_OF, ProjectHome

LATER = AS_OF + timedelta(days=1)
AUTO = {"promotion": {"mode": "auto"}}


def test_a_retrain_that_takes_too_long_is_ended_and_the_champion_stays(home: ProjectHome) -> None:
    before = champion()
    home.configure(**AUTO, budget={"max_hours": 0.0001, "price_per_hour": 100})
    code, answer, _ = retrain(LATER)
    assert (code, answer["error"]["kind"]) == (6, "BudgetExceeded")
    assert "max_hours" in answer["error"]["culprits"][0]
    assert champion() == before
    assert len(ledger().releases()) == 1
    ended = ledger().last(EventKind.RETRAIN_FINISHED)
    assert ended is not None
    assert (ended.as_of, ended.payload["status"], ended.payload["error"]) == (LATER, "failed", "BudgetExceeded")
    assert ended.payload["cost"] > 0
    failed = ledger().last(EventKind.RETRAIN_FAILED)
    assert failed is not None
    assert failed.payload["kind"] == "BudgetExceeded"


def test_a_retrain_that_finds_another_one_leaves_with_5_and_names_it(home: ProjectHome) -> None:
    before = champion()
    lease = ledger().retrain_lease().take(Owner(run_id="the first", process=this_process()), Purpose(as_of=AS_OF))
    code, answer, _ = retrain(LATER)
    assert (code, answer["error"]["kind"]) == (5, "Busy")
    assert "run the first" in answer["error"]["culprits"][0]
    assert champion() == before
    assert [event.as_of for event in ledger().events(EventKind.RETRAIN_SKIPPED)] == [LATER]
    assert list(ledger().events(EventKind.RETRAIN_FAILED)) == [], "it did not fail: it was not begun"

    assert run("clean")[0] == 5
    ledger().retrain_lease().give_back(lease)
    assert run("clean")[0] == 0


@pytest.mark.slow
def test_what_no_audit_needs_goes_and_what_serves_stays(home: ProjectHome) -> None:
    before = champion()
    home.configure(
        **AUTO, gates={"min_average_precision": 0.999}, retention={"failed_runs": 0, "rejected_artifacts": 0}
    )
    assert retrain(LATER)[0] == 4
    head = ledger().head()

    code, looked, _ = run("clean", "--dry-run")
    assert (code, looked["dry_run"]) == (0, True)
    assert [(one["what"], one["as_of"], one["version"]) for one in looked["removed"]] == [("run", str(LATER), None)]
    assert ledger().head() == head

    code, done, _ = run("clean")
    assert (code, done["dry_run"], done["removed"]) == (0, False, looked["removed"])
    event = ledger().last(EventKind.ARTIFACTS_REMOVED)
    assert event is not None
    assert (event.subject, event.as_of, event.channel) == (done["removed"][0]["run_id"], LATER, "command line")
    assert run("clean")[1]["removed"] == []
    assert champion() == before
    assert ledger().verify().ok

    home.configure(**AUTO)
    code, answer, _ = retrain(LATER)
    assert answer["mlflow_run_id"] != done["removed"][0]["run_id"], "what was removed is trained again"
    assert code in (0, 4)
