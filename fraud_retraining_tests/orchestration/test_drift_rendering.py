"""Drift and live performance as metadata: the number that is plotted, and nothing that was not measured."""

from datetime import date

import dagster as dg

from fraud_retraining.domain.monitoring.drift import ReferenceProfile
from fraud_retraining.orchestration.drift_rendering import drift_metadata
from fraud_retraining_tests.support.reviews import DRIFT

CALM = DRIFT.model_copy(update={"threshold": 0.9})


def plotted(report: object) -> dict[str, object]:
    profile = ReferenceProfile.model_construct(features=(), fraud_days=(), left_out={})
    metadata = drift_metadata(report, profile, None)
    event = dg.AssetMaterialization("drift_report", partition=str(date(2024, 3, 1)), metadata=metadata)
    return {name: getattr(value, "value", value) for name, value in event.metadata.items()}


def test_a_drifted_feature_is_counted_and_named() -> None:
    shown = plotted(DRIFT)
    assert (shown["drifted"], shown["worst"], shown["threshold"]) == (1, "amount", 0.2)


def test_a_calm_day_says_so_and_has_its_greatest_drift_all_the_same() -> None:
    shown = plotted(CALM)
    assert (shown["drifted"], shown["worst"]) == (0, "nothing over the threshold")
    assert shown["drift"] == plotted(DRIFT)["drift"]
