"""The manifest of a window from what the store holds, its checks, and the fingerprint of the model that it gives.

Here: reading the records of the days and refusing those that are out of date. Not here: which days a window has and
what its manifest says (`domain/training/windows.py`), and its labels (`window_labels.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import date

from fraud_retraining.adapters.mlflow.code_versions import code_version
from fraud_retraining.adapters.mlflow.environment import fitting_libraries, library_versions
from fraud_retraining.adapters.storage.lake import DayFiles, Lake
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.data.rule_results import Report
from fraud_retraining.domain.training.fingerprint import Fingerprint, fingerprint
from fraud_retraining.domain.training.window_checks import WindowEvidence, window_checks
from fraud_retraining.domain.training.windows import TrainingWindow, WindowDays, WindowFeatures, build_manifest
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.state.inventory import Inventory
from fraud_retraining.orchestration.state.readiness import days_behind, days_of_window
from fraud_retraining.orchestration.state.window_labels import WindowLabels
from fraud_retraining.settings import Settings

MODEL_CODE = ("ingestion", "features", "scoring", "training")


def model_fingerprint(window: TrainingWindow, settings: Settings) -> Fingerprint:
    """The fingerprint of the model that the settings give on a window."""
    return fingerprint(
        window,
        model=settings.model.model_copy(update={"threads": 0}),
        code=code_version(*MODEL_CODE),
        libraries=library_versions(fitting_libraries(settings.model.estimator)),
        refit=settings.window.refit if settings.window.refit.enabled else None,
    )


def build_window(as_of: date, settings: Settings, lake: Lake, store: Store) -> TrainingWindow:
    """The manifest of the window of an as-of day, as far as the store has it.

    Raises:
        DataInvalid: days or labels of the window are missing, out of date, or failed a check.
        SettingsError: there is no such window.
    """
    days = days_of_window(settings, as_of)
    plan = settings.feature_plan
    history = sorted(set(days_behind(settings, days.needed)) - set(days.needed))
    used = sorted({*history, *days.needed})
    inventory = Inventory(store, settings, used)
    arrived = {day: files for day, files in lake.days(DayRange(start=used[0], end=used[-1])).items() if day in used}
    _require_current(days, arrived, inventory)
    features = {day: one for day, one in inventory.features.items() if day in days.needed and day in arrived}
    labels = WindowLabels.of(DayRange(start=days.needed[0], end=as_of), features, settings, lake, store)
    found = {day: labels.feature_day(one, inventory.transactions[day].digest) for day, one in features.items()}
    return build_manifest(
        days,
        found,
        {day: inventory.transactions[day].digest for day in history if day in inventory.transactions},
        label_delay_days=settings.labels.delay_days,
        features=WindowFeatures(
            names=settings.learnt_features,
            categorical=tuple(name for name in plan.categorical if name in settings.learnt_features),
            policy_digest=digest(plan),
        ),
        labels=labels.used,
    )


def _require_current(days: WindowDays, arrived: Mapping[date, DayFiles], inventory: Inventory) -> None:
    """Refuses days whose partitions in the store are missing, out of date, or without passed checks.

    Raises:
        DataInvalid: names the days.
    """
    stale = dict.fromkeys(inventory.stale_transactions(arrived), "has arrived but is not ingested as it is now")
    stale |= {day: "its sums are missing or out of date" for day in inventory.stale_entity_days() if day not in stale}
    current = [day for day in days.needed if day in inventory.entity_days and day not in stale]
    stale |= dict.fromkeys(inventory.stale_features(current), "its features are missing or out of date")
    problems = [*(f"{day}: {why}" for day, why in sorted(stale.items())), *inventory.unchecked(arrived)]
    if problems:
        raise DataInvalid(
            f"days that the window as of {days.as_of} needs cannot be used",
            culprits=problems,
            remedy=f"materialize them with the job `ingest`, or run `fraud-retraining retrain --as-of {days.as_of}`, "
            "which does; days that failed a check have to be delivered again.",
            days=[*stale, *inventory.unfit(arrived)],
        )


def window_report(window: TrainingWindow, settings: Settings, store: Store) -> Report:
    """The checks of a window's manifest against what the store holds now."""
    used = [day.day for day in (*window.training, *window.holdout, *window.fixed)]
    inventory = Inventory(store, settings, [*used, *(day for day, _ in window.history)])
    found = window_checks(
        WindowEvidence(
            window,
            settings.validation,
            columns=feature_columns([inventory.features[day] for day in used if day in inventory.features]),
            digests={day: partition.digest for day, partition in inventory.transactions.items()},
            features_digests={day: partition.digest for day, partition in inventory.features.items()},
        )
    )
    return Report(digest=digest(window), rules=digest(settings.validation), results=found)


def feature_columns(partitions: Sequence[Partition]) -> frozenset[str]:
    """Columns that the features of every one of these days have, as their records name them."""
    every = [frozenset(partition.facts["columns"]) for partition in partitions]
    return frozenset.intersection(*every) if every else frozenset()
