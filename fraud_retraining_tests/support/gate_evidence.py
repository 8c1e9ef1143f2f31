"""A sound candidate beside a champion that is as good, and the numbers that gates read of both."""

from collections.abc import Sequence
from datetime import date
from statistics import NormalDist
from typing import Any

from fraud_retraining.domain.evaluation.alert_volume import AlertChange, ThresholdAlerts
from fraud_retraining.domain.evaluation.comparison import Comparison, SliceDifference
from fraud_retraining.domain.evaluation.gates import (
    NO_FIXED_SET,
    Evidence,
    GatePolicy,
    GateResult,
    ScoreSummary,
    judge,
)
from fraud_retraining.domain.evaluation.metrics import Calibration, CalibrationBin, Metrics
from fraud_retraining.domain.values.interval import Interval

POLICY = GatePolicy()

REACH = NormalDist().inv_cdf(0.975)


def interval(value: float, deviation: float = 0.006) -> Interval:
    return Interval(value=value, low=value - REACH * deviation, high=value + REACH * deviation, deviation=deviation)


def comparison(difference: float = 0.0, deviation: float = 0.006, slices: Sequence[SliceDifference] = ()) -> Comparison:
    return Comparison(
        rows=67_000,
        frauds=560,
        candidate=interval(0.73 + difference, 0.02),
        champion=interval(0.73, 0.02),
        difference=interval(difference, deviation),
        resamples=500,
        confidence=0.95,
        slices=tuple(slices),
    )


def lost_in(value: str, difference: float, deviation: float = 0.01) -> SliceDifference:
    return SliceDifference(
        slice="country", value=value, frauds=80, candidate=0.7 + difference, champion=0.7,
        difference=interval(difference, deviation),
    )  # fmt: skip


def calibrated(error: float = 0.001, chance: float = 0.0005) -> Calibration:
    one = CalibrationBin(rows=67_000, expected=600.0, observed=560, chance=chance * 67_000)
    return Calibration(bins=(one,), error=error, chance=chance)


def metrics(
    average_precision: float | None = 0.73, roc_auc: float | None = 0.88, calibration: Calibration | None = None
) -> Metrics:
    values = {"average_precision": average_precision, "roc_auc": roc_auc}
    return Metrics(rows=67_000, frauds=560, values=values, calibration=calibration or calibrated())


def threshold_alerts(value: float = 1.0, half: float = 0.04, champion: int = 700, **changes: Any) -> ThresholdAlerts:
    """A threshold at which the candidate has so many times the champion's alerts, give or take `half`."""
    ratio = Interval(value=value, low=value - half, high=value + half, deviation=half / 2)
    counted = {"candidate": round(champion * value), "champion": champion, "ratio": ratio}
    return ThresholdAlerts(**{"name": "review", "at": 0.42, **counted, **changes})


def alert_changes(*thresholds: ThresholdAlerts) -> AlertChange:
    """Thresholds as they were counted on a week."""
    first, last = date(2026, 3, 1), date(2026, 3, 7)
    return AlertChange(first=first, last=last, days=7, rows=70_000, confidence=0.95, thresholds=thresholds)


def evidence(**changes: Any) -> Evidence:
    """A sound candidate beside a champion as good, with some of it changed."""
    sound = {
        "candidate": metrics(),
        "champion": metrics(),
        "comparison": comparison(),
        "fixed": NO_FIXED_SET,
        "scores": ScoreSummary(distinct=60_000, not_finite=0, minimum=0.0001, maximum=0.99),
        "importance": {"amount": 0.6, "night": 0.4},
        "alerts": alert_changes(threshold_alerts()),
    }
    return Evidence(**sound | changes)


def result(name: str, policy: GatePolicy = POLICY, **changes: Any) -> GateResult:
    return next(one for one in judge(policy, evidence(**changes)).gates if one.name == name)
