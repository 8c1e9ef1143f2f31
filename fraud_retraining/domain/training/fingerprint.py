"""Fingerprint of a model: a digest of everything that determines it.

Here: what is part of the fingerprint, and the differences between two. Not here: where digests are kept and compared
(`adapters/storage/store.py`, `adapters/mlflow/registry.py`) and reading the source code that a fingerprint names.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from pydantic import BaseModel, Field, JsonValue

from fraud_retraining.domain.training.windows import LabelsUsed, RefitPolicy, TrainingWindow
from fraud_retraining.domain.values.base import ExtendedValue, Value
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest

FIRST_DAY = date(1970, 1, 1)


class DayPin(Value):
    """A day as a model used it."""

    day: date
    digest: str
    features_digest: str | None = Field(None, description="Absent for days that features only look back on.")
    weight: float = 1.0


IMPORT_TRIGGER = "import"
"""The trigger of an imported model's release."""


class ImportedFile(Value):
    """The file of a model that was made elsewhere."""

    format: str = Field(description="ONNX, or the native format of a library.")
    sha256: str
    trained_through: date = Field(description="Last day that it has learnt from, as who imported it claims.")

    @property
    def training(self) -> DayRange:
        """The days that it may have learnt from: nobody knows the first, so every day up to the last counts."""
        return DayRange(start=FIRST_DAY, end=self.trained_through)


class Fingerprint(ExtendedValue):
    """Everything that determines a model and its verdict; two models with one fingerprint are the same model."""

    ADDED = frozenset({"labels", "refit", "imported"})

    as_of: date = Field(description="Also the cut-off of labels that say when they became known.")
    label_delay_days: int
    training: tuple[DayPin, ...]
    holdout: tuple[DayPin, ...]
    fixed: tuple[DayPin, ...] = ()
    history: tuple[DayPin, ...] = ()
    features: tuple[str, ...] = Field(description="Feature columns in the order that the model reads.")
    categorical: tuple[str, ...] = ()
    features_policy: str
    model: dict[str, JsonValue] = Field(description="Estimator, parameters, seed and further settings of the fit.")
    code: str = Field(description="Digest of the versions of the code that computes features and fits.")
    libraries: dict[str, str] = Field(description="Versions of the libraries that the fit depends on.")
    labels: LabelsUsed | None = Field(None, description="Labels as known; None where all labels are mature.")
    refit: RefitPolicy | None = Field(None, description="Bounds of a second fit on window and holdout; None without.")

    imported: ImportedFile | None = Field(None, description="None for a model that was fitted here.")

    @property
    def digest(self) -> str:
        """The fingerprint in 64 characters."""
        return digest(self)

    @property
    def days(self) -> dict[date, DayPin]:
        """Every day that was used, in order."""
        pins = {pin.day: pin for pin in (*self.history, *self.fixed, *self.holdout, *self.training)}
        return dict(sorted(pins.items()))

    def role(self, day: date) -> str:
        """Role of a day: training, holdout, fixed or history; the first of these when it has several."""
        roles = ("training", "holdout", "fixed", "history")
        return next(name for name in roles if any(pin.day == day for pin in getattr(self, name)))


def fingerprint(
    window: TrainingWindow,
    *,
    model: BaseModel,
    code: str,
    libraries: Mapping[str, str],
    refit: RefitPolicy | None = None,
) -> Fingerprint:
    """The fingerprint of the model that `model` gives on `window`; `refit` where it may be fitted again."""

    def pins(days: Iterable[Any]) -> tuple[DayPin, ...]:
        return tuple(DayPin(**day.model_dump(include=set(DayPin.model_fields))) for day in days)

    return Fingerprint(
        as_of=window.days.as_of,
        label_delay_days=window.label_delay_days,
        training=pins(window.training),
        holdout=pins(window.holdout),
        fixed=pins(window.fixed),
        history=tuple(DayPin(day=day, digest=day_digest) for day, day_digest in window.history),
        features=window.features,
        categorical=window.categorical,
        features_policy=window.features_policy,
        model=model.model_dump(mode="json"),
        code=code,
        # Sorted for readers of the record; the digest sorts keys itself.
        libraries=dict(sorted(libraries.items())),
        labels=window.labels,
        refit=refit,
    )


def changes(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Differences between two fingerprints as text: days that changed, came or went, and all other parts by name."""
    found = _changed_days(before, after)
    parts = ("as_of", "label_delay_days", "features", "categorical", "features_policy", "code", "labels", "refit")
    for name in (*parts, "imported"):
        if getattr(before, name) != getattr(after, name):
            found.append(f"{name.replace('_', ' ')} changed")
    for name in ("model", "libraries"):
        found += [f"{name} {change}" for change in _changed_keys(getattr(before, name), getattr(after, name))]
    return found


def _changed_days(before: Fingerprint, after: Fingerprint) -> list[str]:
    old, new = before.days, after.days
    both = [day for day in old if day in new]
    found = [f"day {day} changed" for day in both if old[day].digest != new[day].digest]
    found += [f"day {day} is new" for day in new if day not in old]
    found += [f"day {day} is no longer used" for day in old if day not in new]
    counted = {
        "features": sum(_other_features(old[day], new[day]) for day in both),
        "weights": sum(old[day].weight != new[day].weight for day in both),
        "roles": sum(before.role(day) != after.role(day) for day in both),
    }
    return found + [f"{what} of {count} days changed" for what, count in counted.items() if count]


def _other_features(before: DayPin, after: DayPin) -> bool:
    """Whether both used the day's features, and those were others; a day that is only looked back on has none."""
    return (
        None not in (before.features_digest, after.features_digest) and before.features_digest != after.features_digest
    )


def _changed_keys(before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]) -> list[str]:
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
