"""A day of features is made again when a fact it looks back on changes, or a label that it may use; else never."""

from datetime import date, timedelta

import pytest

from fraud_retraining.domain.features.partition_inputs import (
    DayDigests,
    MadeDays,
    facts_lookback,
    features_inputs,
    labels_lookback,
    lookback,
)
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.values.schemas import EntityPolicy

PLAN = FeaturePlan(
    entities={"customer": EntityPolicy(column="c", windows_days=(1, 3), fraud_share=True)}, label_delay_days=2
)
DAY = date(2024, 3, 20)


def before(days: int) -> date:
    return DAY - timedelta(days=days)


def digests(**changed: str) -> dict[date, DayDigests]:
    return {before(n): DayDigests(whole=f"w{n}", facts=f"f{n}", labels=f"l{n}") for n in range(10)}


def inputs(changed: int, part: str) -> dict[str, str]:
    """Inputs of the features of `DAY` after one part of an earlier day changed."""
    days = digests()
    days[before(changed)] = days[before(changed)].model_copy(update={part: "other"})
    return features_inputs(PLAN, DAY, MadeDays(digests(), days, {}), "plan", "code")


def test_facts_of_the_longest_window_and_labels_after_the_delay_are_looked_back_on() -> None:
    assert facts_lookback(PLAN, DAY) == [before(3), before(2), before(1)]
    assert labels_lookback(PLAN, DAY) == [before(5), before(4), before(3)]
    assert lookback(PLAN, DAY) == [before(n) for n in (5, 4, 3, 2, 1)]


@pytest.mark.parametrize(
    ("days", "part", "stale"),
    [
        (1, "facts", True),
        (3, "facts", True),
        (4, "facts", False),
        (1, "labels", False),
        (2, "labels", False),
        (3, "labels", True),
        (5, "labels", True),
        (6, "labels", False),
    ],
)
def test_only_what_features_may_use_makes_a_day_stale(days: int, part: str, stale: bool) -> None:
    unchanged = features_inputs(PLAN, DAY, MadeDays(digests(), digests(), {}), "plan", "code")
    assert (inputs(days, part) != unchanged) is stale


def test_without_a_fraud_share_no_label_is_looked_back_on() -> None:
    plan = FeaturePlan(entities={"customer": EntityPolicy(column="c", windows_days=(1, 3))}, label_delay_days=2)
    assert labels_lookback(plan, DAY) == []


def test_labels_as_known_depend_on_the_days_on_which_they_became_known() -> None:
    plan = PLAN.model_copy(update={"labels_as_known": True})

    def inputs_with(known: dict[date, str]) -> dict[str, str]:
        return features_inputs(plan, DAY, MadeDays(digests(), digests(), known), "plan", "code")

    assert inputs_with({before(1): "a"}) != inputs_with({before(1): "b"})
    assert inputs_with({before(4): "a"}) == inputs_with({before(4): "b"}), "beyond the longest window"
