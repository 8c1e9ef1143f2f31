"""Trigger, channel and days of a run follow from its tags."""

from datetime import date

import dagster as dg
import pytest

from fraud_retraining.domain.retraining.requesters import DAGSTER_UI
from fraud_retraining.orchestration.names import (
    AS_OF_TAG,
    BACKFILL_TAG,
    CHANNEL_TAG,
    DECIDE,
    JUDGE_AGAIN,
    MODEL_TAG,
    MONITOR,
    PARTITION_TAG,
    RANGE_END,
    RANGE_START,
    RETRAIN,
    TRIGGER_TAG,
)
from fraud_retraining.orchestration.tags import (
    as_of_day,
    channel_of,
    concerns,
    days_of_tags,
    model_of,
    trigger_of,
    typed_in_ui,
)
from fraud_retraining.settings import Settings

DAY = date(2024, 3, 1)


@pytest.mark.parametrize(
    ("tags", "trigger"),
    [
        ({}, "manual"),
        ({BACKFILL_TAG: "abc"}, "backfill"),
        ({TRIGGER_TAG: "drift+schedule", BACKFILL_TAG: "abc"}, "drift+schedule"),
    ],
    ids=["no tag", "a backfill of Dagster's", "named triggers win"],
)
def test_the_trigger_is_the_tag_else_a_backfill_else_manual(tags: dict[str, str], trigger: str) -> None:
    assert trigger_of(tags) == trigger


def test_a_trigger_tag_that_a_user_typed_in_the_ui_does_not_count() -> None:
    assert typed_in_ui({TRIGGER_TAG: "drift"}) == "manual"
    assert typed_in_ui({TRIGGER_TAG: "drift", BACKFILL_TAG: "abc"}) == "backfill"


@pytest.mark.parametrize(
    ("tags", "channel"),
    [
        ({}, DAGSTER_UI),
        ({"dagster/sensor_name": "retrain_sensor"}, "sensor retrain_sensor"),
        ({"dagster/schedule_name": "retrain_schedule"}, "schedule retrain_schedule"),
        ({CHANNEL_TAG: "command line", "dagster/sensor_name": "x"}, "command line"),
    ],
)
def test_the_channel_is_the_tag_else_the_sensor_or_schedule_else_the_ui(tags: dict[str, str], channel: str) -> None:
    assert channel_of(tags) == channel


@pytest.mark.parametrize(
    ("tags", "as_of"),
    [({}, None), ({PARTITION_TAG: str(DAY)}, DAY), ({AS_OF_TAG: str(DAY), PARTITION_TAG: "2020-01-01"}, DAY)],
)
def test_the_as_of_day_is_its_tag_else_the_partition(tags: dict[str, str], as_of: date | None) -> None:
    assert as_of_day(tags) == as_of


def test_the_days_of_a_run_are_its_range_else_its_partition_else_none() -> None:
    assert days_of_tags({}) == ()
    assert days_of_tags({PARTITION_TAG: str(DAY)}) == (DAY,)
    assert days_of_tags({RANGE_START: "2024-02-28", RANGE_END: str(DAY)}) == (date(2024, 2, 28), date(2024, 2, 29), DAY)


SEVERAL = Settings.model_validate({"models": [{"name": "small"}, {"name": "large"}]})


def run_of(model: str = "", chosen: tuple[str, ...] = (), job: str = "ingest") -> dg.DagsterRun:
    """A run with the tag of a model, or of assets that a user selected."""
    keys = frozenset(dg.AssetKey(key.split("/")) for key in chosen)
    return dg.DagsterRun(job_name=job, tags={MODEL_TAG: model} if model else {}, asset_selection=keys or None)


@pytest.mark.parametrize(
    ("run", "model"),
    [
        (run_of("small"), "small"),
        (run_of(chosen=("large/fraud_model",)), "large"),
        (run_of(chosen=("transactions", "labels")), ""),
        (run_of(), ""),
    ],
    ids=["its tag", "assets selected in the UI", "days", "a run of an older version"],
)
def test_the_model_is_the_tag_else_the_first_part_of_the_selected_keys(run: dg.DagsterRun, model: str) -> None:
    assert model_of(run) == model


def test_each_run_concerns_its_model_and_days_concern_what_the_models_share() -> None:
    small, large = SEVERAL.each_model()
    runs = (run_of("small"), run_of("large"), run_of())
    assert [[concerns(run, one) for run in runs] for one in (small, large, SEVERAL)] == [
        [True, False, False],
        [False, True, False],
        [False, False, True],
    ]


@pytest.mark.parametrize("job", [RETRAIN, MONITOR, JUDGE_AGAIN, DECIDE])
def test_an_old_run_of_a_model_is_not_one_of_shared_days(job: str) -> None:
    assert [concerns(run_of(job=job), one) for one in (SEVERAL, *SEVERAL.each_model(), Settings())] == [
        False,
        False,
        False,
        True,
    ]


def test_with_one_model_runs_of_another_name_in_the_same_home_are_not_its_own() -> None:
    settings = Settings()
    runs = (run_of(settings.model.name), run_of(), run_of("another"))
    assert [concerns(run, settings) for run in runs] == [True, True, False]
