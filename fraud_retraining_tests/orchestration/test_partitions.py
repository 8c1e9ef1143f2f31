"""Partitions are whole UTC days, and mappings name exactly the days that are read."""

from datetime import date

import dagster as dg
import pytest

from fraud_retraining.domain.training.windows import ExpandingWindow, HoldoutPolicy, RollingWindow, window_days
from fraud_retraining.orchestration.partitions import day_partitions, feature_mappings, looking_back, window_mapping
from fraud_retraining.settings import Settings

FIRST, AS_OF = date(2024, 1, 1), date(2024, 3, 31)
DAYS = day_partitions(FIRST)


def upstream(mapping: dg.PartitionMapping, day: date) -> list[str]:
    subset = DAYS.subset_with_partition_keys([str(day)])
    found = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, DAYS, DAYS)
    return sorted(found.partitions_subset.get_partition_keys())


def test_the_first_partition_is_the_first_day() -> None:
    assert DAYS.get_first_partition_key() == str(FIRST)


def test_looking_back_names_both_ends_and_nothing_between_is_left_out() -> None:
    assert upstream(looking_back(2, 1), date(2024, 1, 10)) == ["2024-01-08", "2024-01-09"]


def test_days_before_the_first_are_left_out_and_are_no_error() -> None:
    assert upstream(looking_back(3), FIRST) == [str(FIRST)]


def test_a_rolling_window_maps_to_its_own_days() -> None:
    settings = Settings()
    window, holdout = RollingWindow(days=30), HoldoutPolicy(days=7)
    needed = window_days(AS_OF, window, holdout, settings.labels).needed
    mapped = upstream(window_mapping(window, holdout, settings.labels.delay_days), AS_OF)
    assert set(map(str, needed)) <= set(mapped)
    assert len(mapped) == 37


def test_an_expanding_window_reads_every_day() -> None:
    mapping = window_mapping(ExpandingWindow(strategy="expanding", start=FIRST), HoldoutPolicy(days=7), 7)
    assert isinstance(mapping, dg.AllPartitionMapping)


@pytest.mark.parametrize("asset", ["transactions", "entity_days"])
def test_features_look_back_as_far_as_the_plan(asset: str) -> None:
    plan = Settings().feature_plan
    day = date(2024, 3, 20)
    read = plan.lookback(day)
    sums = {earlier for days in read.entity_days.values() for earlier in days}
    expected = {day, read.yesterday} if asset == "transactions" else sums
    mapped = set(upstream(feature_mappings(plan)[asset], day))
    assert set(map(str, expected)) <= mapped
