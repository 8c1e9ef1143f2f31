"""When drift asks for a retrain, and when the same drift has been answered."""

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.retraining.triggers.decision import (
    decide,
)
from fraud_retraining.domain.retraining.triggers.drift import DriftRetrain, DriftTriggerPolicy
from fraud_retraining.domain.retraining.triggers.registry import TriggerPolicy
from fraud_retraining.domain.retraining.triggers.values import (
    Retrain,
    Skip,
)
from fraud_retraining_tests.support.trigger_inputs import DAY, LAST, ONLY_DRIFT, drifting, known


@pytest.mark.parametrize(
    ("values", "fires", "why"),
    [
        ((0.1, 0.3, 0.3), True, "two of the last three, the latest among them"),
        ((0.3, 0.1, 0.3), True, "two of three, with a calm day between"),
        ((0.3, 0.3, 0.1), False, "the latest day is calm"),
        ((0.1, 0.1, 0.3), False, "a single day may be a holiday"),
        ((0.2, 0.2, 0.2), False, "on the threshold is not over it"),
        ((0.3, 0.1, 0.1, 0.3), False, "the first is too long ago"),
        ((), False, "nothing was compared"),
    ],
)
def test_drift_fires_when_m_of_n_days_are_over(values: tuple[float, ...], fires: bool, why: str) -> None:
    decision = decide(ONLY_DRIFT, known(drift=drifting(*values)))
    assert isinstance(decision, Retrain) is fires, why
    assert decision.reason.startswith("drift: ")


def test_a_drift_retrain_says_from_when_on_the_new_fraud_can_be_learnt() -> None:
    decision = decide(ONLY_DRIFT, known(drift=drifting(0.1, 0.3, 0.35)))
    assert isinstance(decision, Retrain)
    assert decision.drift_since == date(2024, 2, 25)
    assert "days since 2024-02-25 are in the training window from as-of day 2024-03-10 on" in decision.reason
    assert "2024-02-26 at 0.35 (amount)" in decision.reason


def test_drift_that_was_answered_does_not_retrain_in_a_circle_before_its_labels_can_be_learnt() -> None:
    """One shift on 1 March, seen every day since: one retrain at once, the next when shifted days are in the window."""
    shift, last, last_drift, retrains = date(2024, 3, 1), LAST, None, []
    for n in range(40):
        latest = shift + n * DAY
        history = drifting(*(0.4 if day >= shift else 0.05 for day in (latest - i * DAY for i in range(20, -1, -1))))
        history = tuple(d.model_copy(update={"day": latest - (20 - i) * DAY}) for i, d in enumerate(history))
        decision = decide(
            ONLY_DRIFT, known(ready={latest: str(latest)}, last_as_of=last, drift=history, last_drift=last_drift)
        )
        if isinstance(decision, Retrain):
            retrains.append(latest)
            last, last_drift = latest, DriftRetrain(as_of=latest, since=decision.drift_since or latest)
    assert retrains[0] == shift + DAY
    assert retrains[1] == shift + 14 * DAY
    assert all((after - before).days >= 4 for before, after in pairwise(retrains))


def test_a_new_drift_after_an_answered_one_cools_down_first() -> None:
    history = drifting(0.1, 0.3, 0.3)
    earlier = DriftRetrain(as_of=date(2024, 2, 24), since=date(2024, 2, 20))
    decision = decide(ONLY_DRIFT, known(drift=history, last_drift=earlier, ready={date(2024, 2, 27): "x"}))
    assert isinstance(decision, Skip)
    assert "cooling down for 4 days" in decision.reason
    later = decide(ONLY_DRIFT, known(drift=history, last_drift=earlier, ready={date(2024, 2, 28): "x"}))
    assert isinstance(later, Retrain)


def test_drift_without_a_new_day_has_nothing_to_train_on() -> None:
    decision = decide(ONLY_DRIFT, known(drift=drifting(0.3, 0.3), ready={LAST: "x"}))
    assert isinstance(decision, Skip)
    assert "no day after the last as-of day" in decision.reason


@given(
    st.lists(st.floats(0, 1), max_size=30),
    st.integers(1, 5),
    st.integers(0, 4),
    st.floats(0.05, 0.9),
)
def test_whatever_the_history_drift_fires_only_with_its_latest_day_over(
    values: list[float], m: int, more: int, threshold: float
) -> None:
    policy = TriggerPolicy(schedule=None, drift=DriftTriggerPolicy(threshold=threshold, days=(m, m + more)))
    decision = decide(policy, known(drift=drifting(*values, first=date(2024, 1, 1))))
    if isinstance(decision, Retrain):
        assert values[-1] > threshold
        assert sum(value > threshold for value in values[-(m + more) :]) >= m
        assert decision.drift_since is not None
        assert decision.drift_since <= date(2024, 1, 1) + (len(values) - 1) * DAY
