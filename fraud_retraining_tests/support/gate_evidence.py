"""A sound candidate beside a champion that is as good, and the numbers that gates read of both."""

from statistics import NormalDist

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


def interval(value, deviation=0.006):
    return Interval(value=value, low=value - REACH * deviation, high=value + REACH * deviation, deviation=deviation)


def comparison(difference=0.0, deviation=0.006, slices=()):
    return Comparison(
        rows=67_000,
        frauds=560,
        candidate=interval(0.73 + difference, 0.02),
        champion=interval(0.73, 0.02),
        difference=interval(difference, deviation),
        resamples=500,
        confidence=0.95,
        slices=slices,
    )


def lost_in(value, difference, deviation=0.01):
    return SliceDifference(
        slice="country", value=value, frauds=80, candidate=0.7 + difference, champion=0.7,
        difference=interval(difference, deviation),
    )  # fmt: skip


def calibrated(error=0.001, chance=0.0005):
    one = CalibrationBin(rows=67_000, expected=600.0, observed=560, chance=chance * 67_000)
    return Calibration(bins=(one,), error=error, chance=chance)


def metrics(average_precision=0.73, roc_auc=0.88, calibration=None):
    values = {"average_precision": average_precision, "roc_auc": roc_auc}
    return Metrics(rows=67_000, frauds=560, values=values, calibration=calibration or calibrated())


def evidence(**changes):
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


def result(name, policy=POLICY, **changes) -> GateResult:
    return next(one for one in judge(policy, evidence(**changes)).gates if one.name == name)
