"""Windows and thresholds fit the data that they were proposed for: it passes them, and a first model is possible."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.proposal.facts import DayFacts
from fraud_retraining.domain.proposal.volumes import LEAST_DAYS, Volumes, proposed_volumes
from fraud_retraining.domain.training.windows import HoldoutPolicy, RollingWindow, first_as_of_day
from fraud_retraining.domain.values.errors import DataInvalid

START = date(2026, 1, 1)


def lake(span: int, rows: int = 1000, frauds: int = 10) -> list[DayFacts]:
    return [
        DayFacts(day=START + timedelta(days=n), rows=rows, labelled=rows, frauds=min(rows, frauds)) for n in range(span)
    ]


def value(volumes: Volumes, name: str) -> float:
    found = volumes.settings[name].value
    assert isinstance(found, int | float)
    return found


@given(st.integers(LEAST_DAYS, 200), st.integers(1, 10**6), st.integers(1, 1000), st.booleans())
def test_a_first_model_is_possible_and_the_data_passes_its_own_thresholds(
    span: int, rows: int, frauds: int, times: bool
) -> None:
    days = lake(span, rows, frauds)
    found = proposed_volumes(days, label_times=times)
    window, holdout = int(value(found, "window.days")), int(value(found, "holdout.days"))
    labels = LabelPolicy(delay_days=int(value(found, "labels.delay_days")), use="as_known" if times else "mature")
    first = first_as_of_day(START, RollingWindow(days=window), HoldoutPolicy(days=holdout), labels)
    assert first <= days[-1].day
    rate = min(rows, frauds) / rows
    assert value(found, "validation.min_rows") <= window * rows
    assert value(found, "validation.min_fraud_rate") <= rate <= value(found, "validation.max_fraud_rate")
    assert value(found, "validation.min_holdout_frauds") <= holdout * min(rows, frauds)
    assert 0 <= value(found, "gates.min_average_precision") <= 0.3


@given(st.lists(st.integers(1, 5000), min_size=LEAST_DAYS, max_size=40))
def test_days_of_any_size_pass_the_bounds_of_their_row_counts(sizes: list[int]) -> None:
    days = [DayFacts(day=START + timedelta(days=n), rows=size, labelled=size, frauds=1) for n, size in enumerate(sizes)]
    found = proposed_volumes(days, label_times=False).settings
    least = found["validation.min_row_count_ratio"].value if "validation.min_row_count_ratio" in found else 0.2
    most = found["validation.max_row_count_ratio"].value if "validation.max_row_count_ratio" in found else 5.0
    for place in range(1, len(sizes)):
        before = sorted(sizes[max(0, place - 14) : place])
        middle = (before[len(before) // 2] + before[(len(before) - 1) // 2]) / 2
        assert least <= sizes[place] / middle <= most


def test_large_lakes_keep_the_defaults() -> None:
    found = proposed_volumes(lake(90, 200_000, 1000), label_times=False)
    assert {name: one.value for name, one in found.settings.items()} == {
        "labels.delay_days": 7,
        "window.days": 30,
        "holdout.days": 7,
        "validation.min_rows": 50_000,
        "validation.min_fraud_rate": 0.001,
        "validation.max_fraud_rate": 0.1,
        "validation.min_holdout_frauds": 20,
        "gates.min_average_precision": 0.05,
        "gates.alert_budget": 100,
    }
    assert found.windows_days == (1, 7, 30)


def test_days_without_rows_are_allowed_for() -> None:
    days = [day for day in lake(60) if day.day.day % 10]
    found = proposed_volumes(days, label_times=False)
    assert value(found, "validation.max_missing_days") == 60 - len(days)


def test_too_few_days_and_no_fraud_are_refused_with_a_remedy() -> None:
    with pytest.raises(DataInvalid, match="3 days, and a first model needs 8"):
        proposed_volumes(lake(3), label_times=False)
    with pytest.raises(DataInvalid, match="no row is labelled a fraud"):
        proposed_volumes(lake(60, frauds=0), label_times=False)


def test_rows_that_will_be_rejected_are_allowed_for_until_the_column_looks_wrong() -> None:
    def with_refunds(count: int) -> Volumes:
        days = [day.model_copy(update={"rejected": count if place == 5 else 0}) for place, day in enumerate(lake(30))]
        return proposed_volumes(days, label_times=False)

    assert "validation.max_reject_share" not in with_refunds(0).settings
    assert value(with_refunds(40), "validation.max_reject_share") == 0.08
    with pytest.raises(DataInvalid, match="300 of 1,000 rows of 2026-01-06 would be rejected"):
        with_refunds(300)


def late(days: list[DayFacts], delays: dict[int, int]) -> dict[date, dict[int, int]]:
    """The same reports of each day, as far as they have come by the last one."""
    last = days[-1].day
    return {
        one.day: {delay: count for delay, count in delays.items() if one.day + timedelta(days=delay) <= last}
        for one in days
    }


@pytest.mark.parametrize(
    ("span", "delays", "expected"),
    [
        (60, {0: 5, 2: 5}, 7),
        (60, {0: 5, 9: 5}, 10),
        (60, {0: 5, 25: 5}, 14),
        (100, {0: 5, 25: 5}, 30),
        (60, {}, 7),
        (18, {0: 5, 5: 5}, 3),
    ],
)
def test_the_label_delay_is_as_long_as_reports_of_the_feed_take(
    span: int, delays: dict[int, int], expected: int
) -> None:
    days = lake(span)
    found = proposed_volumes(days, label_times=True, frauds_by_delay=late(days, delays))
    assert value(found, "labels.delay_days") == expected
    window, holdout = int(value(found, "window.days")), int(value(found, "holdout.days"))
    labels = LabelPolicy(delay_days=expected, use="mature")
    assert first_as_of_day(START, RollingWindow(days=window), HoldoutPolicy(days=holdout), labels) <= days[-1].day


def test_the_label_delay_says_how_late_reports_come() -> None:
    days = lake(90)
    words = (
        proposed_volumes(days, label_times=True, frauds_by_delay=late(days, {0: 8, 2: 2}))
        .settings["labels.delay_days"]
        .why
    )
    assert "of frauds that the feed reports within 30 days it reports 80% within 1 day, 100% within 3 days" in words


def test_a_feed_without_frauds_is_refused_by_its_own_options() -> None:
    with pytest.raises(DataInvalid, match="the label feed reports no fraud") as refused:
        proposed_volumes(lake(60, frauds=0), label_times=True, frauds_by_delay={})
    assert "--feed-label-column" in str(refused.value)
