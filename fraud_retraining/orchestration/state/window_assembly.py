"""The manifest of a window from what the store holds, its checks, and the fingerprint of the model that it gives.

Here: reading the records of the days and refusing those that are out of date. Not here: which days a window has and
what its manifest says (`domain/training/windows.py`), and its labels (`window_labels.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Self

from fraud_retraining.adapters.mlflow.code_versions import code_version
from fraud_retraining.adapters.mlflow.environment import fitting_libraries, library_versions
from fraud_retraining.adapters.mlflow.gpu import device_versions
from fraud_retraining.adapters.storage.lake import DayFiles, Lake
from fraud_retraining.adapters.storage.model_store import require_told
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.data.rule_results import Report
from fraud_retraining.domain.training.fingerprint import Fingerprint, fingerprint
from fraud_retraining.domain.training.window_checks import WindowEvidence, window_checks
from fraud_retraining.domain.training.windows import (
    FeatureDay,
    TrainingWindow,
    WindowDays,
    WindowFeatures,
    build_manifest,
)
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.state.inventory import Inventory
from fraud_retraining.orchestration.state.readiness import days_behind, days_of_window
from fraud_retraining.orchestration.state.window_labels import WindowLabels
from fraud_retraining.settings import Settings

MODEL_CODE = ("ingestion", "features", "scoring", "training")
SPARK_CODE, SPARK_LIBRARIES = ("spark_training",), ("pyspark",)
"""What a fit on Spark depends on besides."""


def model_fingerprint(window: TrainingWindow, settings: Settings) -> Fingerprint:
    """The fingerprint of the model that the settings give on a window.

    Raises:
        SettingsError: it is to be fitted on a GPU, and there is none.
    """
    model = settings.model
    on_spark = model.trainer == "spark"
    libraries = (*fitting_libraries(model.estimator), *(SPARK_LIBRARIES if on_spark else ()))
    return fingerprint(
        window,
        model=model.model_copy(update={"threads": 0}),
        code=code_version(*MODEL_CODE, *(SPARK_CODE if on_spark else ())),
        libraries=library_versions(libraries) | device_versions(model),
        refit=settings.window.refit if settings.window.refit.enabled else None,
    )


def build_window(as_of: date, settings: Settings, lake: Lake, store: Store) -> TrainingWindow:
    """The manifest of the window of an as-of day, as far as the store has it.

    Raises:
        DataInvalid: days or labels of the window are missing, out of date, or failed a check.
        SettingsError: there is no such window.
    """
    days = days_of_window(settings, as_of)
    found = StoredDays.of(days, settings, lake, store)
    if found.labels.needs_mature_days and settings.judges_fresh:
        days, found = _with_mature_labels(as_of, settings, lake, store)
    frauds = {day: one.known(as_of)[1] for day, one in found.features.items()}
    judged_days = settings.holdout.length(days.holdout.end, frauds)
    labels = settings.labels.model_copy(update={"use": "as_known" if days.holdout.end == as_of else "mature"})
    return found.manifest(days_of_window(settings, as_of, labels, judged_days), settings)


def _with_mature_labels(as_of: date, settings: Settings, lake: Lake, store: Store) -> "tuple[WindowDays, StoredDays]":
    """The window whose days all have mature labels, for when too few frauds are known to weigh those of young days."""
    days = days_of_window(settings, as_of, settings.labels.model_copy(update={"use": "mature"}))
    try:
        return days, StoredDays.of(days, settings, lake, store)
    except DataInvalid as error:
        first, last = days.needed[0], days.needed[-1]
        raise DataInvalid(
            f"too few frauds are known as of {as_of} to use labels as known, and {error.what}",
            culprits=error.culprits,
            remedy="wait for more labels, lower labels.min_delay_frauds, or first run `fraud-retraining ingest --from "
            f"{first} --to {last}`.",
            days=error.days,
        ) from error


@dataclass(frozen=True)
class StoredDays:
    """What the store holds of the days that a window may have."""

    features: Mapping[date, FeatureDay]
    transactions: Mapping[date, str]
    labels: WindowLabels

    @classmethod
    def of(cls, days: WindowDays, settings: Settings, lake: Lake, store: Store) -> Self:
        """The days of a window, and those that their features look back on.

        Raises:
            DataInvalid: days or labels are missing, out of date, or failed a check, or the rows of the model cannot be
                told from a day.
        """
        used = days_behind(settings, days.needed)
        inventory = Inventory(store, settings, used)
        arrived = {day: files for day, files in lake.days(DayRange(start=used[0], end=used[-1])).items() if day in used}
        # First: a correction of the settings makes the days anew, so that whatever else is said of them is void then.
        require_told(one for day, one in inventory.transactions.items() if day in days.needed)
        _require_current(days, arrived, inventory)
        made = {day: one for day, one in inventory.features.items() if day in days.needed and day in arrived}
        labels = WindowLabels.of(DayRange(start=days.needed[0], end=days.as_of), made, settings, lake, store)
        transactions = {day: one.digest for day, one in inventory.transactions.items()}
        return cls({day: labels.feature_day(one, transactions[day]) for day, one in made.items()}, transactions, labels)

    def manifest(self, days: WindowDays, settings: Settings) -> TrainingWindow:
        """The manifest of a window whose days are among these."""
        history = set(days_behind(settings, days.needed)) - set(days.needed)
        plan = settings.feature_plan
        return build_manifest(
            days,
            self.features,
            {day: found for day, found in self.transactions.items() if day in history},
            label_delay_days=settings.labels.delay_days,
            features=WindowFeatures(
                names=settings.learnt_features,
                categorical=tuple(name for name in plan.categorical if name in settings.learnt_features),
                policy_digest=digest(plan),
            ),
            labels=self.labels.known_from(days.needed[0]),
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
