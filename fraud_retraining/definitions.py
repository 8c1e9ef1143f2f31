"""Everything that Dagster loads, on one page."""

import warnings
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from fraud_retraining.adapters.private_files import close_new_files
from fraud_retraining.domain.errors import RetrainingError
from fraud_retraining.orchestration import card_sensor, release_sensors
from fraud_retraining.orchestration.alert_sensors import build_alert_sensors
from fraud_retraining.orchestration.assets import evaluation, features, ingestion, monitoring, promotion, training
from fraud_retraining.orchestration.checks import data_checks, drift_checks, model_checks, performance_checks
from fraud_retraining.orchestration.cleaning import build_clean_job
from fraud_retraining.orchestration.decide_release import decide_release
from fraud_retraining.orchestration.jobs import build_jobs
from fraud_retraining.orchestration.outcomes import HOOKS, told_of
from fraud_retraining.orchestration.partitions import DEFAULT_FIRST_DAY, day_partitions
from fraud_retraining.orchestration.resources import build_resources, open_lake
from fraud_retraining.orchestration.schedules import build_schedules
from fraud_retraining.orchestration.sensors import build_sensors
from fraud_retraining.settings import Settings, load_settings


def build_definitions(settings: Settings | None = None, **overrides: Any) -> dg.Definitions:
    """The definitions under `settings`; `overrides` swaps resources by key, for a test or a notebook.

    Raises:
        SettingsError: every problem of the settings, in one message.
    """
    settings = settings or load_settings()
    partitions = day_partitions(_first_day(settings))
    resources: Mapping[str, Any] = {**build_resources(settings), **overrides}
    return dg.Definitions(
        assets=told_of(
            *ingestion.build_assets(partitions),
            *features.build_assets(partitions, settings.feature_plan),
            *training.build_assets(partitions, settings),
            *evaluation.build_assets(partitions),
            *promotion.build_assets(partitions),
            *monitoring.build_assets(partitions, settings),
        ),
        asset_checks=[
            *data_checks.build_checks(partitions),
            *model_checks.build_checks(partitions),
            *drift_checks.build_checks(partitions, settings),
            *performance_checks.build_checks(partitions),
        ],
        jobs=[*build_jobs(settings, HOOKS), decide_release.with_hooks(HOOKS), build_clean_job(HOOKS)],
        schedules=build_schedules(settings),
        sensors=[
            *build_sensors(settings),
            *release_sensors.build_sensors(settings),
            card_sensor.build_sensor(settings),
            *build_alert_sensors(settings),
        ],
        resources=resources,
        executor=dg.in_process_executor,
    )


def _first_day(settings: Settings) -> date:
    """The first day that the UI offers; a lake that is far away is not listed for it."""
    if settings.lake.first_day:
        return settings.lake.first_day
    if "://" in settings.lake_uri or not Path(settings.lake_uri).is_dir():
        return DEFAULT_FIRST_DAY
    try:
        return min(open_lake(settings).days(), default=DEFAULT_FIRST_DAY)
    except RetrainingError:  # the sensors and commands say so; the web server has to come up all the same
        return DEFAULT_FIRST_DAY


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev`, the daemon and `dg` load: the settings of the environment that they run in."""
    close_new_files()
    for kind in (dg.BetaWarning, dg.PreviewWarning):
        warnings.simplefilter("ignore", kind)
    return build_definitions()
