"""A day's missed frauds are held against a holdout that was counted with the same alerts, and no other."""

from datetime import date

import pytest

from fraud_retraining.domain.evaluation.alert_recall import AlertRecall
from fraud_retraining.domain.monitoring.missed_frauds import MissedFrauds


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
