"""Everything that Dagster loads, on one page.

One model is `defs`. Of several each is a repository of this one code location, and what they share another: jobs,
sensors and resources have the same names everywhere, and a model that fails fails in its own.
"""

import warnings
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Any

import dagster as dg

from fraud_retraining.adapters.storage.private_files import close_new_files
from fraud_retraining.domain.data.segments import SHARED
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
from fraud_retraining.orchestration.assets.specs import described, of_segment
from fraud_retraining.orchestration.checks import (
    data_checks,
    drift_checks,
    label_checks,
    model_checks,
    performance_checks,
    skew_checks,
)
from fraud_retraining.orchestration.jobs.asset_jobs import build_day_jobs, build_model_jobs
from fraud_retraining.orchestration.jobs.cleaning import build_clean_job
from fraud_retraining.orchestration.jobs.decide_release import build_decide_job
from fraud_retraining.orchestration.names import FEATURES, LABELS, TRANSACTIONS
from fraud_retraining.orchestration.partitions import day_partitions
from fraud_retraining.orchestration.resources import require_signing_key
from fraud_retraining.orchestration.runs.outcomes import HOOKS, with_hooks
from fraud_retraining.orchestration.runs.resource_definitions import build_resources
from fraud_retraining.orchestration.sensors import model_cards as card_sensor
from fraud_retraining.orchestration.sensors import releases as release_sensors
from fraud_retraining.orchestration.sensors.alerts import build_alert_sensors
from fraud_retraining.orchestration.sensors.schedules import (
    build_clean_schedule,
    build_day_schedules,
    build_model_schedules,
)
from fraud_retraining.orchestration.sensors.triggering import build_day_sensors, build_model_sensors
from fraud_retraining.orchestration.state.first_days import first_as_of_partition, first_day_of_lake
from fraud_retraining.settings import Settings, load_settings

REPOSITORY = "repository_of_"
"""Begins the names of the repositories in this module, which are those of models, and no other name in it."""


def build_definitions(settings: Settings | None = None, **overrides: Any) -> dg.Definitions:
    """The definitions under `settings`; `overrides` swaps resources by key, for a test or a notebook.

    Where the settings name several models these are the days that all of them share, and those of a model are
    `build_definitions(settings.of_model(name))`.

    Raises:
        SettingsError: every problem of the settings, in one message.
    """
    settings = settings or load_settings()
    return dg.Definitions(**_parts(settings, first_day_of_lake(settings), **overrides))


def build_repositories(settings: Settings) -> dict[str, dg.RepositoryDefinition]:
    """Of several models: what they share, and each with jobs, sensors and resources of its own, by name."""
    first = first_day_of_lake(settings)
    return {name: _repository(settings, name, first) for name in (SHARED, *settings.model_names)}


def _repository(settings: Settings, name: str, first: date) -> dg.RepositoryDefinition:
    return dg.create_repository_using_definitions_args(name, **_parts(settings.of_model(name), first))


def _parts(settings: Settings, first: date, **overrides: Any) -> dict[str, Any]:
    """The arguments of definitions: of the days, of a model, or of both where there is one model."""
    days, as_of_days = day_partitions(first), day_partitions(first_as_of_partition(settings, first))
    resources: Mapping[str, Any] = {**build_resources(settings), **overrides}
    parts = [_of_days(settings, days)] if not settings.segment else []
    parts += [_of_model(settings, days, as_of_days)] if not settings.models else []
    every = {kind: [one for part in parts for one in part[kind]] for kind in parts[0]}
    return {
        **every,
        "jobs": [*every["jobs"], build_clean_job("" if settings.models else settings.model.name, HOOKS)],
        "schedules": [*every["schedules"], build_clean_schedule(settings)],
        "sensors": [*every["sensors"], *build_alert_sensors(settings)],
        "resources": resources,
        "executor": dg.in_process_executor,
    }


def _of_days(settings: Settings, days: dg.PartitionsDefinition) -> dict[str, list[Any]]:
    """The days, which all models share."""
    return {
        "assets": described(
            with_hooks(
                *ingestion.build_assets(days),
                *labels.build_assets(days, settings),
                *features.build_assets(days, settings.feature_plan),
                *online_state.build_assets(days, settings.feature_plan),
            ),
            settings,
        ),
        "asset_checks": [*data_checks.build_day_checks(days), *label_checks.build_checks(days, settings)],
        "jobs": build_day_jobs(HOOKS),
        "schedules": build_day_schedules(settings),
        "sensors": build_day_sensors(settings),
    }


def _of_model(
    settings: Settings, days: dg.PartitionsDefinition, as_of_days: dg.PartitionsDefinition
) -> dict[str, list[Any]]:
    """What a model has to itself."""
    assets = [
        *training.build_assets(as_of_days, settings),
        *evaluation.build_assets(as_of_days),
        *promotion.build_assets(as_of_days),
        *monitoring.build_assets(days, settings),
        *matured_verdicts.build_assets(as_of_days, settings),
    ]
    checks = [
        *data_checks.build_window_checks(as_of_days),
        *model_checks.build_checks(as_of_days),
        *drift_checks.build_checks(days, settings),
        *performance_checks.build_checks(days),
        *skew_checks.build_checks(days),
    ]
    return {
        "assets": [
            *of_segment(described(with_hooks(*assets), settings), settings.segment),
            *(_made_elsewhere(settings, days) if settings.segment else ()),
        ],
        "asset_checks": of_segment(checks, settings.segment),
        "jobs": [*build_model_jobs(settings, HOOKS), build_decide_job(settings.model.name, HOOKS)],
        "schedules": build_model_schedules(settings),
        "sensors": [
            *build_model_sensors(settings),
            *release_sensors.build_sensors(settings),
            card_sensor.build_sensor(settings),
        ],
    }


def _made_elsewhere(settings: Settings, days: dg.PartitionsDefinition) -> list[dg.AssetSpec]:
    """The days that a model of several reads, with their partitions: the shared part makes them."""
    read = (TRANSACTIONS, FEATURES, *((LABELS,) if settings.judges_fresh else ()))
    return [dg.AssetSpec(name, partitions_def=days) for name in read]


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev`, the daemon and `dg` load: the settings of the environment that they run in."""
    settings = load_settings()
    _begin(settings)
    return build_definitions(settings)


def _begin(settings: Settings) -> None:
    # Here, where processes start that add to the ledger: a run would be refused only after hours.
    require_signing_key(settings)
    close_new_files()
    for kind in (dg.BetaWarning, dg.PreviewWarning):
        warnings.simplefilter("ignore", kind)


@cache
def _several() -> tuple[Settings, date] | None:
    """The settings of the environment, if they name several models, and the first day of their lake."""
    settings = load_settings()
    return (settings, first_day_of_lake(settings)) if settings.models else None


def __dir__() -> list[str]:
    """What Dagster finds in this module: `defs`, or a repository a model beside what they share."""
    names = sorted(globals())
    found = _several()
    if found is None:
        return names
    models = (SHARED, *found[0].model_names)
    return [*(name for name in names if name != "defs"), *(f"{REPOSITORY}{name}" for name in models)]


@cache
def __getattr__(name: str) -> dg.RepositoryDefinition:
    """A repository by the name that `__dir__` gives it; built when a process first needs it."""
    found = _several() if name.startswith(REPOSITORY) else None
    model = name.removeprefix(REPOSITORY)
    if found is None or model not in (SHARED, *found[0].model_names):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _begin(found[0])
    return _repository(found[0], model, found[1])
