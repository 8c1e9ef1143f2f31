"""The second fit learns from window and holdout by the same recipe, and nothing else determines it."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.training.fingerprint import changes, fingerprint
from fraud_retraining.domain.training.fitting import ModelPolicy
from fraud_retraining.domain.training.refit import refit_fingerprint, refit_window, unjudged_days
from fraud_retraining.domain.training.windows import (
    FeatureDay,
    HoldoutPolicy,
    RollingWindow,
    TrainingWindow,
    WeightedWindow,
    WindowFeatures,
    WindowPolicy,
    build_manifest,
    window_days,
)

AS_OF = date(2026, 3, 31)


def manifest(window: WindowPolicy, holdout: int = 7, delay: int = 7) -> TrainingWindow:
    days = window_days(AS_OF, window, HoldoutPolicy(days=holdout), LabelPolicy(delay_days=delay))
    found = {
        day: FeatureDay(digest=f"d{day}", features_digest=f"f{day}", label_days=((None, 100, 3),))
        for day in days.needed
    }
    features = WindowFeatures(("amount",), (), "plan")
    return build_manifest(days, found, {}, label_delay_days=delay, features=features)


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 20))
def test_it_learns_from_the_days_of_both_and_leaves_the_unjudged_ones(days: int, holdout: int, delay: int) -> None:
    window = manifest(RollingWindow(days=days), holdout, delay)
    second = refit_window(window)
    assert [day.day for day in second.training] == [day.day for day in (*window.training, *window.holdout)]
    assert (second.holdout, second.rows) == ((), window.rows + window.holdout_rows)
    unjudged = [day for span in unjudged_days(window.days) for day in span]
    assert len(unjudged) == delay
    assert not {*unjudged} & {day.day for day in second.training}
    assert all(window.days.holdout.end < day <= AS_OF for day in unjudged)


def test_recent_days_that_weigh_more_move_with_the_end_of_the_window() -> None:
    second = refit_window(manifest(WeightedWindow(strategy="weighted", days=20, recent_days=5, recent_weight=3)))
    last = second.days.training.end
    assert {day.day for day in second.training if day.weight == 3} == {last - timedelta(days=n) for n in range(5)}


def test_it_has_a_fingerprint_of_its_own_that_differs_in_the_role_of_the_holdout_alone() -> None:
    window = manifest(RollingWindow(days=10))
    judged = fingerprint(window, model=ModelPolicy(), code="c", libraries={})
    second = refit_fingerprint(judged, refit_window(window))
    assert second.digest != judged.digest
    assert changes(judged, second) == ["roles of 7 days changed"]
