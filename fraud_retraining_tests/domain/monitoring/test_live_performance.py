"""Live performance has the metrics of the gates and an interval from resampling; a trigger gets the week."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from fraud_retraining.domain.evaluation.judged import UNKNOWN, Judged
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy
from fraud_retraining.domain.labels.reporting_delays import ReportingDelays
from fraud_retraining.domain.monitoring.live_performance import (
    Live,
    PerformanceReport,
    ServedPart,
    measure,
    service_level,
)
from fraud_retraining.domain.values.interval import Interval

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


def promise(value: float, noise: float = 0.05) -> Interval:
    return Interval(value=value, low=value - noise, high=value + noise, deviation=noise / 2)


def part(version: int, value: float | None, frauds: int, promised: Interval | None, days: int = 2) -> ServedPart:
    served = tuple(DAY + timedelta(days=10 * version + n) for n in range(days))
    as_of = served[0] - timedelta(days=1)
    return ServedPart(
        version=version,
        as_of=as_of,
        days=served,
        rows=1000,
        frauds=frauds,
        average_precision=value,
        promised=promised,
        promised_rows=7000 if promised else 0,
    )


def report(day: float | None, week: float | None, *parts: ServedPart) -> PerformanceReport:
    return PerformanceReport(
        day=DAY,
        version=2,
        fingerprint="f",
        known_by=DAY + timedelta(days=7),
        today=live(day),
        recent=live(week),
        parts=parts,
    )


@pytest.mark.parametrize(
    ("parts", "value", "promised_low", "why"),
    [
        ((part(1, 0.5, 9, promise(0.7)),), 0.5, 0.65, "one version: its days beside its holdout"),
        ((part(1, 0.2, 10, promise(0.7)), part(2, 0.4, 30, promise(0.5))), 0.35, 0.5, "weighted by frauds"),
        ((part(1, 0.2, 10, None), part(2, 0.4, 30, promise(0.5))), 0.4, 0.45, "only days whose promise is known"),
        ((part(1, 0.2, 10, None), part(2, 0.4, 30, None)), 0.35, None, "no promise is known: the floor alone"),
        (
            (part(1, None, 0, promise(0.9)), part(2, 0.4, 30, promise(0.5))),
            0.4,
            0.45,
            "days without a fraud say nothing",
        ),
        ((), 0.5, None, "a report from before the parts"),
    ],
)
def test_the_service_is_judged_by_who_served_against_what_each_promised(
    parts: tuple[ServedPart, ...], value: float, promised_low: float | None, why: str
) -> None:
    performance = report(0.2, 0.5, *parts).live_performance
    assert performance is not None, why
    assert performance.value == pytest.approx(value), why
    assert performance.holdout_low == (None if promised_low is None else pytest.approx(promised_low)), why


def test_fewer_compared_frauds_make_a_wider_interval() -> None:
    week = live(0.5).model_copy(update={"frauds": 40})
    reached = promise(0.5, 0.1)
    whole = service_level(week, reached, [part(1, 0.5, 30, promise(0.5)), part(2, 0.5, 10, promise(0.5))])
    some = service_level(week, reached, [part(1, 0.5, 30, None), part(2, 0.5, 10, promise(0.5))])
    assert whole.high - whole.value == pytest.approx(0.1)
    assert some.high - some.value == pytest.approx(0.2)


def test_what_is_compared_is_said_with_days_rows_versions_and_their_age() -> None:
    performance = report(0.2, 0.5, part(1, 0.2, 10, promise(0.7)), part(2, 0.4, 30, promise(0.5))).live_performance
    assert performance is not None
    assert performance.compared == (
        "4 days, 2,000 rows, 40 frauds, served by versions 1 (as of 2026-03-10, up to 2 days old), "
        "2 (as of 2026-03-20, up to 2 days old); holdouts of 7,000 rows"
    )
    assert "promised 0.550 (at least 0.500): it is low" in performance.summary("low")


def test_a_trigger_gets_nothing_of_days_without_a_fraud() -> None:
    assert report(None, None).live_performance is None


def test_it_survives_being_written_and_read() -> None:
    performance = report(0.2, None)
    assert PerformanceReport.model_validate(performance.model_dump(mode="json")) == performance


def test_a_report_on_labels_as_known_says_so_and_one_on_mature_labels_is_stored_as_before() -> None:
    first = report(0.5, 0.5)
    assert first.is_mature and "delays" not in first.model_dump(mode="json")
    delays = ReportingDelays(as_of=DAY, delay_days=1, counts=(5, 5), shares=(0.5, 1.0))
    early = first.model_copy(update={"delays": delays, "known_by": DAY + timedelta(days=3)})
    assert not early.is_mature
    live = early.live_performance
    assert live is not None and live.compared.startswith("labels as known by 2026-03-04; ")


def test_a_week_of_which_some_was_blocked_says_what_its_numbers_rest_on() -> None:
    whole = judged()
    blocked = np.arange(len(whole)) < 40
    labels = np.where(blocked, UNKNOWN, whole.labels).astype(np.int8)
    weights = np.where(blocked, 0.0, np.where(np.arange(len(whole)) < 50, 5.0, 1.0))
    week = measure(replace(whole, labels=labels, row_weights=weights), [DAY], POLICY)
    first = report(0.5, 0.5)
    found = first.model_copy(update={"recent": week}).live_performance
    said = "40 of 4,000 rows were blocked and are unknown; a control group stands for 40"
    assert found is not None and said in found.compared
    assert "selected" not in first.model_dump(mode="json")["recent"]
    assert Live.model_validate(week.model_dump(mode="json")) == week
