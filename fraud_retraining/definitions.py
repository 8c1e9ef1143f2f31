"""Everything that Dagster loads, on one page."""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from fraud_retraining.adapters.storage.private_files import close_new_files
from fraud_retraining.orchestration.assets import (
    evaluation,
    features,
    ingestion,
    labels,
    matured_verdicts,
    monitoring,
    online_state,
    promotion,
    training,
)
from fraud_retraining.orchestration.assets.specs import described
from fraud_retraining.orchestration.checks import (
    data_checks,
    drift_checks,
    label_checks,
    model_checks,
    performance_checks,
    skew_checks,
)
from fraud_retraining.orchestration.jobs.asset_jobs import build_jobs
from fraud_retraining.orchestration.jobs.cleaning import build_clean_job
from fraud_retraining.orchestration.jobs.decide_release import decide_release
from fraud_retraining.orchestration.partitions import day_partitions
from fraud_retraining.orchestration.resources import require_signing_key
from fraud_retraining.orchestration.runs.outcomes import HOOKS, with_hooks
from fraud_retraining.orchestration.runs.resource_definitions import build_resources
from fraud_retraining.orchestration.sensors import model_cards as card_sensor
from fraud_retraining.orchestration.sensors import releases as release_sensors
from fraud_retraining.orchestration.sensors.alerts import build_alert_sensors
from fraud_retraining.orchestration.sensors.schedules import build_schedules
from fraud_retraining.orchestration.sensors.triggering import build_sensors
from fraud_retraining.orchestration.state.first_days import first_as_of_partition, first_day_of_lake
from fraud_retraining.settings import Settings, load_settings


def build_definitions(settings: Settings | None = None, **overrides: Any) -> dg.Definitions:
    """The definitions under `settings`; `overrides` swaps resources by key, for a test or a notebook.

    Raises:
        SettingsError: every problem of the settings, in one message.
    """
    settings = settings or load_settings()
    first = first_day_of_lake(settings)
    days, as_of_days = day_partitions(first), day_partitions(first_as_of_partition(settings, first))
    resources: Mapping[str, Any] = {**build_resources(settings), **overrides}
    return dg.Definitions(
        assets=described(
            with_hooks(
                *ingestion.build_assets(days),
                *labels.build_assets(days, settings),
                *features.build_assets(days, settings.feature_plan),
                *online_state.build_assets(days, settings.feature_plan),
                *training.build_assets(as_of_days, settings),
                *evaluation.build_assets(as_of_days),
                *promotion.build_assets(as_of_days),
                *monitoring.build_assets(days, settings),
                *matured_verdicts.build_assets(as_of_days, settings),
            ),
            settings,
        ),
        asset_checks=[
            *data_checks.build_checks(days, as_of_days),
            *label_checks.build_checks(days, settings),
            *model_checks.build_checks(as_of_days),
            *drift_checks.build_checks(days, settings),
            *performance_checks.build_checks(days),
            *skew_checks.build_checks(days),
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


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev`, the daemon and `dg` load: the settings of the environment that they run in."""
    close_new_files()
    for kind in (dg.BetaWarning, dg.PreviewWarning):
        warnings.simplefilter("ignore", kind)
    settings = load_settings()
    # Here, where processes start that add to the ledger: a run would be refused only after hours.
    require_signing_key(settings)
    return build_definitions(settings)
