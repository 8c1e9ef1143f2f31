"""The checks of a range of days, as the partitions of Dagster show them."""

from datetime import date, timedelta

import dagster as dg
import pytest

from fraud_retraining.domain.data.day_checks import DAY_CHECKS
from fraud_retraining.orchestration.checks.data_checks import DAYS_REPORTED_SINGLY
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import START, ProjectHome


def reported(check: str) -> dict[date, bool]:
    """What Dagster shows of a check, by partition, of those that gave a result."""
    instance = open_instance()
    key = dg.AssetCheckKey(dg.AssetKey("transactions"), check)
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=1000)
    events = [
        record.event.dagster_event.asset_check_evaluation_data for record in records if record.status.value != "PLANNED"
    ]
    instance.dispose()
    return {date.fromisoformat(one.partition): one.passed for one in events if one.partition}


def ingest(days: int) -> int:
    return run("ingest", "--from", str(START), "--to", str(START + timedelta(days=days - 1)))[0]


@pytest.mark.slow
def test_each_day_of_a_short_range_shows_its_own_results(project: ProjectHome) -> None:
    bad = START + timedelta(days=1)
    project.write_day(bad, project.read_day(bad).slice(0, 0))
    assert ingest(3) == 3
    days = [START + timedelta(days=n) for n in range(3)]
    for check in DAY_CHECKS:
        assert sorted(reported(check)) == days, check
    assert reported("row_count") == {day: day != bad for day in days}


def test_a_range_of_one_day_shows_its_results_too(project: ProjectHome) -> None:
    assert ingest(1) == 0
    for check in DAY_CHECKS:
        assert reported(check) == {START: True}, check


@pytest.mark.slow
def test_of_a_long_range_the_last_day_and_those_that_did_not_pass_show_it(project: ProjectHome) -> None:
    before, bad, last = (START + timedelta(days=DAYS_REPORTED_SINGLY + n) for n in (0, 1, 2))
    project.write_day(bad, project.read_day(bad).slice(0, 10))
    assert ingest(DAYS_REPORTED_SINGLY + 3) == 3
    assert reported("row_count") == {before: True, bad: False, last: True}, (
        "the days around the bad one stand as two ranges"
    )
