"""The gate on alerts at the thresholds: a change counts where it is beyond the bound and chance does not explain it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
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


def sliced(values: Sequence[float], deviation: float, champion: int = 400) -> ThresholdAlerts:
    """A threshold at which each slice has so many times the champion's alerts."""
    return threshold_alerts(
        slices=tuple(
            SliceAlerts(
                slice="country",
                value=f"C{place}",
                candidate=round(champion * value),
                champion=champion,
                ratio=Interval(value=value, low=0, high=9, deviation=deviation),
            )
            for place, value in enumerate(values)
        )
    )


@pytest.mark.parametrize(
    ("values", "deviation", "passed", "said"),
    [
        ([1.08], 0.001, True, "(10% in 1 slices)"),
        ([1.3], 0.05, False, "country C0 changes by more than the 10% that is allowed and than chance explains"),
        ([0.7], 0.05, False, "(280 alerts against 400; 1 of 1 slices fail)"),
        ([1.3], 0.15, True, "chance could explain it (520 alerts against 400)"),
        ([1.22, *[1.0] * 29], 0.05, True, "chance could explain it"),
        ([1.3, *[1.0] * 29], 0.05, False, "1 of 30 slices fail"),
    ],
    ids=["within", "more", "fewer", "noisy", "one of many by chance", "one of many"],
)
def test_a_slice_has_the_same_bound_beyond_its_noise(
    values: list[float], deviation: float, passed: bool, said: str
) -> None:
    found = held(sliced(values, deviation))
    assert found.passed == passed and said in found.message


def test_a_slice_may_have_a_bound_of_its_own() -> None:
    assert held(sliced([1.4], 0.05), max_slice_alert_change=0.5).passed
    assert not held(sliced([1.8], 0.05), max_slice_alert_change=0.5).passed


@pytest.mark.parametrize("count", [1, 30])
def test_slices_at_the_bound_rarely_fail_and_a_shift_of_one_is_found(count: int) -> None:
    draw, failed, found = np.random.default_rng(11), 0, 0
    for _ in range(300):
        at_bound = draw.normal(1.1, 0.05, count)
        failed += not held(sliced(at_bound, 0.05)).passed
        found += not held(sliced([*draw.normal(1.0, 0.04, count - 1), draw.normal(1.3, 0.04)], 0.04)).passed
    assert failed / 300 < 0.05, "once in 40 times, and noise"
    assert found / 300 > 0.95


def test_a_slice_in_which_the_champion_has_no_alert_is_a_change() -> None:
    new = SliceAlerts(slice="country", value="DE", candidate=60, champion=0, ratio=None)
    assert not held(threshold_alerts(slices=(new,))).passed


def test_few_alerts_tell_nothing_and_none_of_the_champion_tell_much() -> None:
    few = held(threshold_alerts(2.0, 0.1, champion=5))
    assert few.passed and not few.applicable and "too few alerts to tell" in few.message
    from_nothing = threshold_alerts(candidate=60, champion=0, ratio=None)
    assert not held(from_nothing).passed


def test_what_was_not_compared_says_why_and_what_was_not_counted_fails() -> None:
    found = result("score_contract", alerts=NotCompared(reason="there is no champion whose alerts it could keep"))
    assert found.passed and not found.applicable and "no champion" in found.message
    assert not result("score_contract", alerts=None).passed
