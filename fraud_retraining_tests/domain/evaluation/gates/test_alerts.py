"""The gate on alerts at the thresholds: a change counts where it is beyond the bound and chance does not explain it."""

from typing import Any

import pytest

from fraud_retraining.domain.evaluation.alert_volume import SliceAlerts, ThresholdAlerts
from fraud_retraining.domain.evaluation.comparison import NotCompared
from fraud_retraining.domain.evaluation.gates import GatePolicy, GateResult
from fraud_retraining.domain.values.interval import Interval
from fraud_retraining_tests.support.gate_evidence import alert_changes, result, threshold_alerts


def ratio(value: float, half: float) -> Interval:
    return Interval(value=value, low=value - half, high=value + half, deviation=half / 2)


def held(*thresholds: ThresholdAlerts, **policy: Any) -> GateResult:
    return result("score_contract", GatePolicy(**policy), alerts=alert_changes(*thresholds))


@pytest.mark.parametrize(
    ("value", "half", "passed", "said"),
    [
        (1.0, 0.0, True, "within the 10%"),
        (1.08, 0.02, True, "within the 10%"),
        (1.15, 0.05, False, "not by chance"),
        (0.85, 0.05, False, "not by chance"),
        (1.15, 0.2, True, "chance could explain it"),
    ],
    ids=["equal", "small", "more", "fewer", "noisy"],
)
def test_a_change_beyond_the_bound_fails_unless_chance_explains_it(
    value: float, half: float, passed: bool, said: str
) -> None:
    found = held(threshold_alerts(value, half))
    assert (found.passed, found.applicable) == (passed, True) and said in found.message
    assert found.value == pytest.approx(abs(value - 1)) and found.threshold == pytest.approx(0.1)
    assert found.numbers["review champion"] == 100


def test_the_worst_threshold_counts() -> None:
    found = held(threshold_alerts(), threshold_alerts(1.3, 0.05, name="block", at=0.9))
    assert not found.passed and "block changes by more" in found.message and "review (from 0.42 on)" in found.message


def test_a_slice_has_a_bound_of_its_own() -> None:
    def of(value: float) -> ThresholdAlerts:
        part = SliceAlerts(
            slice="country", value="DE", candidate=round(100 * value), champion=100, ratio=ratio(value, 0.1)
        )
        return threshold_alerts(slices=(part,))

    assert held(of(1.4)).passed
    found = held(of(1.8))
    assert not found.passed and "review in country DE changes by more than the 50%" in found.message
    assert not held(of(1.4), max_slice_alert_change=0.2).passed


def test_few_alerts_tell_nothing_and_none_of_the_champion_tell_much() -> None:
    few = held(threshold_alerts(2.0, 0.1, champion=5))
    assert few.passed and not few.applicable and "too few alerts to tell" in few.message
    from_nothing = threshold_alerts(candidate=60, champion=0, ratio=None)
    assert not held(from_nothing).passed


def test_what_was_not_compared_says_why_and_what_was_not_counted_fails() -> None:
    found = result("score_contract", alerts=NotCompared(reason="there is no champion whose alerts it could keep"))
    assert found.passed and not found.applicable and "no champion" in found.message
    assert not result("score_contract", alerts=None).passed
