"""Which days an as-of day means, and what a manifest remembers of them."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.training.windows import (
    ExpandingWindow,
    FeatureDay,
    FixedEvaluation,
    HoldoutPolicy,
    RollingWindow,
    TrainingWindow,
    WeightedWindow,
    WindowDays,
    WindowFeatures,
    WindowPolicy,
    build_manifest,
    first_as_of_day,
    window_days,
)
from fraud_retraining.domain.values.days import DayRange

A = date(2018, 8, 14)


def days(window: WindowPolicy | None = None, holdout: int = 7, delay: int = 7, as_of: date = A) -> WindowDays:
    return window_days(as_of, window or RollingWindow(), HoldoutPolicy(days=holdout), LabelPolicy(delay_days=delay))


def test_the_defaults_as_of_14_august() -> None:
    found = days()
    assert found.holdout == DayRange(start=date(2018, 8, 1), end=date(2018, 8, 7))
    assert found.training == DayRange(start=date(2018, 7, 2), end=date(2018, 7, 31))


@given(
    as_of=st.dates(date(2016, 1, 1), date(2030, 1, 1)),
    window=st.integers(1, 400),
    holdout=st.integers(1, 60),
    delay=st.integers(0, 60),
)
def test_training_holdout_and_immature_days_follow_each_other_without_gap_or_overlap(
    as_of: date, window: int, holdout: int, delay: int
) -> None:
    found = days(RollingWindow(days=window), holdout, delay, as_of)
    assert len(found.training) == window
    assert len(found.holdout) == holdout
    assert found.training.end + timedelta(days=1) == found.holdout.start
    assert found.holdout.end == as_of - timedelta(days=delay)
    assert len(found.needed) == window + holdout


def test_an_expanding_window_grows_with_the_as_of_day_from_a_fixed_start() -> None:
    policy = ExpandingWindow(strategy="expanding", start=date(2018, 5, 1))
    assert days(policy).training.start == days(policy, as_of=A + timedelta(days=9)).training.start
    with pytest.raises(ValueError, match="after its last day"):
        days(ExpandingWindow(strategy="expanding", start=A))


@pytest.mark.parametrize(
    "window",
    [
        RollingWindow(days=30),
        RollingWindow(days=1),
        WeightedWindow(strategy="weighted", days=10, recent_days=3),
        ExpandingWindow(strategy="expanding", start=A - timedelta(days=9)),
    ],
)
@pytest.mark.parametrize(("holdout", "delay"), [(7, 7), (1, 0)])
def test_the_first_as_of_day_is_the_first_whose_window_the_lake_fills(
    window: WindowPolicy, holdout: int, delay: int
) -> None:
    first = A - timedelta(days=9)
    found = first_as_of_day(first, window, HoldoutPolicy(days=holdout), LabelPolicy(delay_days=delay))
    assert days(window, holdout, delay, found).needed[0] == first
    earlier = found - timedelta(days=1)
    if isinstance(window, ExpandingWindow):
        with pytest.raises(ValueError, match="after its last day"):
            days(window, holdout, delay, earlier)
    else:
        assert days(window, holdout, delay, earlier).needed[0] < first


def test_days_that_may_be_missing_let_it_be_earlier() -> None:
    first = first_as_of_day(A, RollingWindow(days=30), HoldoutPolicy(days=7), LabelPolicy(delay_days=7), missing=3)
    assert first == A + timedelta(days=7 + 7 + 30 - 1 - 3)


def test_recent_days_weigh_exactly_what_was_said() -> None:
    found = days(WeightedWindow(strategy="weighted", days=10, recent_days=3, recent_weight=2.5))
    assert [found.weight(day) for day in found.training] == [1.0] * 7 + [2.5] * 3


@pytest.mark.parametrize(("as_of", "judges"), [(date(2018, 6, 9), False), (date(2018, 6, 10), True)])
def test_fixed_evaluation_days_judge_once_they_are_mature(as_of: date, judges: bool) -> None:
    fixed = FixedEvaluation(start=date(2018, 6, 1), end=date(2018, 6, 3))
    found = window_days(as_of, RollingWindow(), HoldoutPolicy(fixed=fixed), LabelPolicy(delay_days=7))
    assert (found.fixed is not None) is judges


def test_fixed_evaluation_days_may_not_be_learnt_from() -> None:
    fixed = FixedEvaluation(start=date(2018, 7, 1), end=date(2018, 7, 3))
    with pytest.raises(ValueError, match="overlap"):
        window_days(A, RollingWindow(), HoldoutPolicy(fixed=fixed), LabelPolicy())


def manifest(found: dict[date, FeatureDay], as_of: date = A) -> TrainingWindow:
    return build_manifest(
        days(RollingWindow(days=3), 2, 1, as_of),
        found,
        {as_of - timedelta(days=30): "old"},
        label_delay_days=1,
        features=WindowFeatures(names=("amount",), categorical=(), policy_digest="plan"),
    )


def test_a_manifest_counts_only_labels_that_its_as_of_day_knows() -> None:
    known, later = A, A + timedelta(days=1)
    day = FeatureDay(digest="d", features_digest="f", label_days=((None, 10, 1), (known, 5, 5), (later, 7, 7)))
    window = manifest(dict.fromkeys(days(RollingWindow(days=3), 2, 1).needed, day))
    assert (window.rows, window.frauds) == (45, 18)


def test_days_that_are_not_there_are_named_and_have_no_digest() -> None:
    needed = days(RollingWindow(days=3), 2, 1).needed
    day = FeatureDay(digest="d", features_digest="f", label_days=((None, 10, 1),))
    window = manifest(dict.fromkeys(needed[1:], day))
    assert window.missing == (needed[0],)
    assert window.digests == {**dict(window.history), **dict.fromkeys(needed[1:], "d")}
