"""A candidate that nothing compares with the champion, or that misses a floor, is for a reviewer in every mode."""

from datetime import timedelta

import pytest

from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining_tests.support.command_line import champion, ledger, retrain, run
from fraud_retraining_tests.support.project_homes import AS_OF, ProjectHome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CRIPPLED = {"params": {"n_estimators": 1, "max_depth": 1}}
ANY_ALERTS = {"max_alert_change": 100}
"""A model of one split gives two scores: no threshold has as many alerts under it as under another model."""
ANY_SCORES = {"min_distinct_scores": 2, "max_importance": 1, **ANY_ALERTS}
LAST = AS_OF + timedelta(days=3)


def test_a_champion_that_has_learnt_the_holdout_is_not_replaced_without_a_human(home: ProjectHome) -> None:
    """Labels that are believed later move the whole holdout into the days that the champion has learnt from."""
    before = champion()
    home.configure(promotion={"mode": "auto"}, labels={"delay_days": 9}, model=CRIPPLED, gates=ANY_SCORES)
    code, answer, _ = retrain(LAST)
    assert (code, answer["status"]) == (0, "awaiting_approval"), answer["message"]
    assert "it was not compared with version 1, which serves" in answer["message"]
    assert "has learnt from every day that judges this candidate" in answer["message"]
    assert champion() == before

    release = ledger().release_by_version(2)
    assert release is not None and release.needs_human is not None
    shown = run("audit", "show", "2")[1]
    assert shown["release"]["needs_human"] == release.needs_human

    code, approved, _ = run("approve", "2", "--by", "alice", "--reason", "the labels come later now")
    assert (code, approved["state"]) == (0, "promoted")
    assert ledger().verify().ok


def test_a_better_candidate_under_a_floor_waits_for_an_exception(home: ProjectHome) -> None:
    lenient = {"max_regression": 1, "max_unproven_regression": 1, "max_slice_regression": 1, **ANY_SCORES}
    home.configure(promotion={"mode": "auto"}, gates=lenient, model=CRIPPLED)
    code, answer, _ = retrain(AS_OF + timedelta(days=1))
    assert (code, answer["status"]) == (0, "promoted"), answer["message"]
    before = champion()

    home.configure(promotion={"mode": "auto"}, gates={"min_average_precision": 0.999, **ANY_ALERTS})
    code, answer, _ = retrain(AS_OF + timedelta(days=2))
    assert (code, answer["status"]) == (0, "awaiting_approval"), answer["message"]
    assert "is below the floor 0.999" in answer["message"]
    assert [gate["name"] for gate in answer["gates"] if not gate["passed"]] == ["average_precision_floor"]
    assert champion() == before

    assert run("approve", "3", "--by", "alice")[0] == 2, "an exception needs a reason"
    code, approved, _ = run("approve", "3", "--by", "alice", "--reason", "the old one is far worse")
    assert (code, approved["state"]) == (0, "promoted")
    excepted = ledger().last(EventKind.FLOOR_EXCEPTED, version=3)
    assert excepted is not None
    assert (excepted.actor, excepted.payload["reason"]) == ("alice", "the old one is far worse")
    steps = [step["what"] for step in run("audit", "show", "3")[1]["steps"]]
    assert "exception made for average_precision_floor" in steps
    assert ledger().verify().ok
