"""A sound candidate beside a champion that is as good, and the numbers that gates read of both."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

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


def evidence(**changes: Any) -> Evidence:
    """A sound candidate beside a champion as good, with some of it changed."""
    sound = {
        "candidate": metrics(),
        "champion": metrics(),
        "comparison": comparison(),
        "fixed": NO_FIXED_SET,
        "scores": ScoreSummary(distinct=60_000, not_finite=0, minimum=0.0001, maximum=0.99),
        "importance": {"amount": 0.6, "night": 0.4},
    }
    return Evidence(**sound | changes)


def result(name: str, policy: GatePolicy = POLICY, **changes: Any) -> GateResult:
    return next(one for one in judge(policy, evidence(**changes)).gates if one.name == name)
