"""Fingerprints: all that determines a model changes its fingerprint, and is named when it does."""

from datetime import date, timedelta

import pytest

from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.training.fingerprint import changes, fingerprint
from fraud_retraining.domain.training.windows import (
    HoldoutPolicy,
    RefitPolicy,
    RollingWindow,
    TrainingWindow,
    WindowDay,
    window_days,
)
from fraud_retraining.domain.values.base import Policy


class Model(Policy):
    """Stands for the settings of a fit."""

    estimator: str = "xgboost"
    params: dict[str, float] = {}
    seed: int = 7


AS_OF = date(2024, 3, 31)


def manifest(**changed) -> TrainingWindow:
    days = window_days(AS_OF, RollingWindow(days=3), HoldoutPolicy(days=2), LabelPolicy(delay_days=7))

    def pinned(day: date) -> WindowDay:
        return WindowDay(day=day, digest=f"d{day}", features_digest=f"f{day}", rows=10, frauds=1)

    values = {
        "days": days,
        "label_delay_days": 7,
        "training": tuple(map(pinned, days.training)),
        "holdout": tuple(map(pinned, days.holdout)),
        "history": ((days.training.start - timedelta(days=1), "h"),),
        "features": ("amount", "hour"),
        "features_policy": "p",
    }
    return TrainingWindow(**(values | changed))


TRAINING, HOLDOUT = manifest().training, manifest().holdout

EARLIER = TRAINING[0].day - timedelta(days=1)


def made(window: TrainingWindow | None = None, model: Policy | None = None, code: str = "c", xgboost: str = "3.2"):
    return fingerprint(
        window or manifest(), model=model or Model(), code=code, libraries={"xgboost": xgboost, "numpy": "2"}
    )


def altered(days: tuple[WindowDay, ...], **changed) -> tuple[WindowDay, ...]:
    return (days[0].model_copy(update=changed), *days[1:])


class TestFingerprint:
    def test_the_same_inputs_give_the_same_fingerprint(self):
        assert made().digest == made().digest
        assert changes(made(), made()) == []

    @pytest.mark.parametrize(
        ("other", "change"),
        [
            (lambda: made(manifest(training=altered(TRAINING, digest="x"))), "day 2024-03-20 changed"),
            (lambda: made(manifest(holdout=altered(HOLDOUT, digest="x"))), "day 2024-03-23 changed"),
            (lambda: made(manifest(history=((EARLIER, "x"),))), "day 2024-03-19 changed"),
            (lambda: made(manifest(history=())), "day 2024-03-19 is no longer used"),
            (lambda: made(manifest(history=((AS_OF, "x"), (EARLIER, "h")))), "day 2024-03-31 is new"),
            (lambda: made(manifest(training=altered(TRAINING, features_digest="x"))), "features of 1 days changed"),
            (lambda: made(manifest(training=altered(TRAINING, weight=2.5))), "weights of 1 days changed"),
            (lambda: made(manifest(training=TRAINING[1:], fixed=TRAINING[:1])), "roles of 1 days changed"),
            (
                lambda: made(
                    manifest(training=TRAINING[1:], history=((EARLIER, "h"), (TRAINING[0].day, "d2024-03-20")))
                ),
                "roles of 1 days changed",
            ),
            (lambda: made(manifest(features=("hour", "amount"))), "features changed"),
            (lambda: made(manifest(features_policy="x")), "features policy changed"),
            (lambda: made(manifest(label_delay_days=8)), "label delay days changed"),
            (lambda: made(model=Model(seed=8)), "model seed: 7 -> 8"),
            (lambda: made(code="x"), "code changed"),
            (lambda: made().model_copy(update={"refit": RefitPolicy(enabled=True)}), "refit changed"),
            (lambda: made(xgboost="3.3"), "libraries xgboost: 3.2 -> 3.3"),
        ],
    )
    def test_each_input_of_the_model_changes_it_and_is_named(self, other, change):
        assert other().digest != made().digest
        assert changes(made(), other()) == [change]

    def test_how_many_rows_a_day_has_is_already_in_its_digest(self):
        assert made(manifest(training=altered(TRAINING, rows=11))).digest == made().digest

    def test_without_a_second_fit_nothing_of_it_is_digested(self):
        assert "refit" not in made().model_dump(mode="json")

    def test_it_survives_storage(self):
        stored = made().model_dump_json()
        assert type(made()).model_validate_json(stored).digest == made().digest
