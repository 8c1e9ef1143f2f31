"""Schedules: which ones there are, and that the retrain ticks each night so that the trigger can count days."""

import dagster as dg

from fraud_retraining.orchestration.names import DAILY_CLEAN, DAILY_INGEST, RETRAIN_SCHEDULE
from fraud_retraining.orchestration.sensors.schedules import (
    build_clean_schedule,
    build_day_schedules,
    build_model_schedules,
)
from fraud_retraining.settings import Settings


def schedules_of(settings: Settings) -> list[dg.ScheduleDefinition]:
    return [*build_day_schedules(settings), *build_model_schedules(settings), build_clean_schedule(settings)]


def named(settings: Settings) -> dict[str, str]:
    return {schedule.name: str(schedule.cron_schedule) for schedule in schedules_of(settings)}


def test_the_retrain_ticks_each_night_at_its_hour_for_every_interval() -> None:
    for hours in (24, 48, 72):
        settings = Settings.model_validate({"triggers": {"schedule": {"every_hours": hours, "at_hour_utc": 3}}})
        assert named(settings)[RETRAIN_SCHEDULE] == "0 3 * * *"


def test_without_the_trigger_there_is_no_schedule_of_retrains() -> None:
    assert set(named(Settings.model_validate({"triggers": {"schedule": None}}))) == {DAILY_INGEST, DAILY_CLEAN}


def test_all_tick_in_utc_and_the_ingest_comes_before_the_clean_up() -> None:
    schedules = {schedule.name: schedule for schedule in schedules_of(Settings())}
    assert {schedule.execution_timezone for schedule in schedules.values()} == {"UTC"}
    assert (schedules[DAILY_INGEST].cron_schedule, schedules[DAILY_CLEAN].cron_schedule) == ("30 0 * * *", "0 5 * * *")
