"""A day's missed frauds are held against a holdout that was counted with the same alerts, and no other."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from fraud_retraining.domain.evaluation.alert_recall import AlertRecall, alert_recall
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy
from fraud_retraining.domain.monitoring.missed_frauds import MissedFrauds
from fraud_retraining.domain.retraining.triggers.labels import chance_of_missing
from fraud_retraining_tests.support.judged_rows import judged


def counted(budget: int = 100, entity: str = "customer") -> AlertRecall:
    return AlertRecall(budget=budget, entity=entity, frauds=40, missed=10, missed_share=0.25)


@pytest.mark.parametrize(
    ("promised", "share"),
    [(counted(), 0.25), (counted(budget=50), None), (counted(entity="card"), None), (None, None)],
    ids=["the same alerts", "another budget", "other entities", "an earlier version"],
)
def test_the_promise_is_of_the_same_alerts(promised: AlertRecall | None, share: float | None) -> None:
    day = date(2026, 3, 1)
    report = MissedFrauds(day=day, version=3, fingerprint="f", known_by=day, alerts=counted(), promised=promised)
    assert (report.served.known, report.served.missed) == (40, 10)
    assert report.served.promised_missed == share
    assert report.served.promised_frauds == (40 if share else 0)


def test_a_control_group_whose_frauds_are_caught_makes_no_day_worse_than_an_identical_holdout() -> None:
    # 15 frauds and the control group's 10 are within 25 alerts; 15 more frauds are not.
    days, scores = np.repeat(np.arange(3), 40), np.tile(np.linspace(0.9, 0.1, 40), 3)
    stands_for = np.tile(np.repeat([20.0, 1.0], [10, 30]), 3)
    rows = replace(judged(np.ones(120), scores, days=days), row_weights=stands_for)
    alerts = alert_recall(rows, MetricsPolicy(alert_budget=25))
    assert alerts is not None and alerts.missed_share == 45 / 690
    day = date(2026, 3, 1)
    served = MissedFrauds(day=day, version=3, fingerprint="f", known_by=day, alerts=alerts, promised=alerts).served
    assert served.promised_missed == 0.375
    assert 0.4 < chance_of_missing([served]) < 0.6
    # A promise of before says nothing of it.
    earlier = AlertRecall.model_validate(alerts.model_dump(exclude={"missed_share_of_known"}))
    assert earlier.promise == 45 / 690


def test_without_blocked_transactions_the_report_is_as_it_was() -> None:
    alerts = alert_recall(judged([1, 1, 0], [0.9, 0.2, 0.5]), MetricsPolicy(alert_budget=1))
    assert alerts is not None and "missed_share_of_known" not in alerts.model_dump()
