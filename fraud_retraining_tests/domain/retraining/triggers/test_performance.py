"""When live performance is low enough to ask for a retrain."""

from datetime import date

import pytest

from fraud_retraining.domain.retraining.triggers.decision import (
    decide,
)
from fraud_retraining.domain.retraining.triggers.performance import (
    LivePerformance,
    PerformanceTriggerPolicy,
    performance,
)
from fraud_retraining.domain.retraining.triggers.registry import TriggerPolicy
from fraud_retraining.domain.retraining.triggers.values import (
    Fired,
    Retrain,
    Skip,
)
from fraud_retraining_tests.support.trigger_inputs import known


@pytest.mark.parametrize(
    ("live", "fires", "why"),
    [
        ({"value": 0.49, "high": 0.55}, True, "under the floor"),
        ({"value": 0.50, "high": 0.72}, False, "at the floor, and chance explains the rest"),
        ({"value": 0.60, "high": 0.69, "holdout_low": 0.70}, True, "below its holdout by more than the noise"),
        ({"value": 0.60, "high": 0.71, "holdout_low": 0.70}, False, "the intervals touch"),
        ({"value": 0.60, "high": 0.61}, False, "its holdout is not known"),
    ],
)
def test_performance_fires_under_its_floor_or_under_its_own_holdout(
    live: dict[str, float], fires: bool, why: str
) -> None:
    policy = TriggerPolicy(schedule=None, drift=None, performance=PerformanceTriggerPolicy(min_average_precision=0.5))
    judged = LivePerformance(first=date(2024, 2, 14), last=date(2024, 2, 20), **live)
    assert isinstance(decide(policy, known(performance=judged)), Retrain) is fires, why
    recent = decide(policy, known(performance=judged, last_performance=date(2024, 2, 25)))
    assert isinstance(recent, Skip), "it cools down"


def week(value: float, last: date) -> LivePerformance:
    return LivePerformance(first=date(2024, 2, 1), last=last, value=value, high=1.0)


@pytest.mark.parametrize(
    ("as_known", "matured", "answered", "fires", "why"),
    [
        (0.4, 0.6, None, True, "low on labels as known"),
        (0.6, 0.4, None, True, "low once labels are mature"),
        (0.6, 0.6, None, False, "high on both"),
        (0.6, 0.4, date(2024, 2, 16), False, "what matured was answered by a retrain since then"),
        (0.6, 0.4, date(2024, 2, 15), True, "a retrain before does not answer it"),
    ],
)
def test_days_are_judged_on_labels_as_known_and_again_when_they_are_mature(
    as_known: float, matured: float, answered: date | None, fires: bool, why: str
) -> None:
    inputs = known(
        performance=week(as_known, date(2024, 2, 20)),
        matured=week(matured, date(2024, 2, 16)),
        last_performance=answered,
    )
    policy = PerformanceTriggerPolicy(min_average_precision=0.5)
    assert isinstance(performance(policy, inputs), Fired) is fires, why
