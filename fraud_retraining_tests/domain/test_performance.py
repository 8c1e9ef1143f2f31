"""Live performance has the metrics of the gates and an interval from resampling; a trigger is told the week."""

from datetime import date, timedelta

import numpy as np
import pytest

from fraud_retraining.domain.comparison import Interval
from fraud_retraining.domain.judged import Judged
from fraud_retraining.domain.metrics import MetricsPolicy
from fraud_retraining.domain.performance import Live, PerformanceReport, measure

DAY = date(2026, 3, 1)
POLICY = MetricsPolicy(resamples=200)


def judged(rows: int = 4000, rate: float = 0.03, seed: int = 0) -> Judged:
    random = np.random.default_rng(seed)
    labels = (random.random(rows) < rate).astype(np.int8)
    scores = 1 / (1 + np.exp(-(random.normal(size=rows) + 2.5 * labels - 3)))
    days = np.full(rows, (DAY - date(1970, 1, 1)).days, np.int32)
    return Judged(labels, scores, random.integers(0, 300, rows), days, random.gamma(1, 60, rows))


def test_the_interval_holds_the_value_and_narrows_with_more_rows() -> None:
    few, many = (measure(judged(rows), [DAY], POLICY).average_precision for rows in (2000, 50_000))
    assert few is not None and many is not None
    assert few.low < few.value < few.high
    assert many.high - many.low < (few.high - few.low) / 2


def test_the_same_rows_give_the_same_interval() -> None:
    assert measure(judged(), [DAY], POLICY) == measure(judged(), [DAY], POLICY)


@pytest.mark.parametrize("rows", [judged(rate=0), judged().with_scores(np.full(4000, np.nan))], ids=["calm", "nan"])
def test_without_a_fraud_or_a_number_there_is_none(rows: Judged) -> None:
    found = measure(rows, [DAY], POLICY)
    assert found.average_precision is None
    assert found.values["average_precision"] is None


def test_days_are_measured_as_the_gates_measure() -> None:
    found = measure(judged(), [DAY, DAY + timedelta(days=1)], POLICY)
    assert (found.first, found.last, found.rows) == (DAY, DAY + timedelta(days=1), 4000)
    assert set(found.values) >= {"average_precision", "recall_at_1pct_fpr", "card_precision_at_100", "roc_auc"}
    assert found.average_precision is not None
    assert found.average_precision.value == pytest.approx(found.values["average_precision"])


def live(value: float | None) -> Live:
    intervals = {}
    if value is not None:
        intervals["average_precision"] = Interval(value=value, low=value - 0.1, high=value + 0.1, deviation=0.05)
    return Live(first=DAY, last=DAY, rows=10, frauds=1, values={"roc_auc": None}, intervals=intervals)


def report(day: float | None, week: float | None, holdout: Interval | None = None) -> PerformanceReport:
    return PerformanceReport(
        day=DAY,
        version=2,
        fingerprint="f",
        known_by=DAY + timedelta(days=7),
        today=live(day),
        recent=live(week),
        holdout=holdout,
    )


def test_a_trigger_is_told_the_week_beside_the_holdout() -> None:
    told = report(0.2, 0.5, Interval(value=0.7, low=0.65, high=0.75, deviation=0.02)).live_performance
    assert told is not None
    assert (told.value, told.high, told.holdout_low) == (0.5, 0.6, 0.65)


def test_a_trigger_is_told_nothing_of_days_without_a_fraud() -> None:
    assert report(None, None).live_performance is None


def test_a_champion_without_a_known_holdout_is_judged_by_the_floor_alone() -> None:
    told = report(0.2, 0.5).live_performance
    assert told is not None and told.holdout_low is None


def test_it_survives_being_written_and_read() -> None:
    told = report(0.2, None)
    assert PerformanceReport.model_validate(told.model_dump(mode="json")) == told
