"""Alerts of decisions over the days of a replay, the policies beside each other."""

from datetime import date, timedelta

from fraud_retraining.domain.replay.decisions import DecisionDay, ReplayedDecision, decisions_grid
from fraud_retraining.domain.replay.tables import tables
from fraud_retraining_tests.support.replay_results import replay_of, result_of


def decision(name: str, alerts: list[int], scores: list[float]) -> ReplayedDecision:
    first = date(2024, 3, 1)
    return ReplayedDecision(
        name=name,
        days=tuple(
            DecisionDay(day=first + timedelta(days=n), at=at, alerts=count, rows=100)
            for n, (count, at) in enumerate(zip(alerts, scores, strict=True))
        ),
    )


def test_each_decision_has_its_policies_beside_each_other():
    present = [decision("block", [4, 6], [0.9, 0.9]), decision("review", [20, 31], [0.2, 0.25])]
    never = [decision("block", [4, 12], [0.9, 0.9]), decision("review", [], [])]
    found = decisions_grid([("present settings", present), ("never retrain", never)])
    assert found is not None and found.rows == (
        ("block", "present settings", "5.0", "4", "6", "0.9"),
        ("block", "never retrain", "8.0", "4", "12", "0.9"),
        ("review", "present settings", "25.5", "20", "31", "0.2 to 0.25"),
        ("review", "never retrain", "-", "-", "-", "-"),
    )


def test_without_decisions_there_is_no_table():
    assert decisions_grid([("present settings", ())]) is None
    plain = replay_of(result_of("present settings", [0.5]))
    with_one = result_of("present settings", [0.5]).model_copy(update={"decisions": (decision("block", [1], [0.5]),)})
    assert len(tables(replay_of(with_one))) == len(tables(plain)) + 1
