"""Drift reports, live performance and served skew as Dagster's metadata.

Here: which numbers are plotted over the days, and which tables and pictures are beside them. Not here: their content
(`domain/monitoring/drift_tables.py`) and drawing (`adapters/pages/drift_pictures.py`).
"""

from typing import Any

from fraud_retraining.adapters.pages.drift_pictures import worst_png
from fraud_retraining.domain.monitoring.drift import SCORE, DriftReport, HoldoutProfile, ReferenceProfile
from fraud_retraining.domain.monitoring.drift_tables import drift_grid, left_out_grid, live_grid, served_grid
from fraud_retraining.domain.monitoring.live_performance import PerformanceReport
from fraud_retraining.domain.monitoring.served_skew import ServedSkew
from fraud_retraining.domain.monitoring.skew_reasons import Reason
from fraud_retraining.orchestration.rendering import grid_table, markdown_image


def drift_metadata(report: DriftReport, profile: ReferenceProfile, holdout: HoldoutProfile | None) -> dict[str, Any]:
    """The greatest drift as a number that is plotted over the days, every feature, and a picture of the worst."""
    profiles = {one.bins.name: one for one in profile.features}
    if holdout is not None:
        profiles[SCORE] = holdout.score
    over = report.over()
    return {
        "drift": report.value,
        "drifted": len(over),
        "drifted_importance": report.drifted_importance,
        "worst": ", ".join(over) or "nothing over the threshold",
        "threshold": report.threshold,
        "champion_version": report.version,
        "rows": report.rows,
        "features": grid_table(drift_grid(report)),
        "left_out": grid_table(left_out_grid(report)),
        "reference_and_day": markdown_image(worst_png(report, profiles), "reference and day"),
    }


def performance_metadata(report: PerformanceReport) -> dict[str, Any]:
    """The numbers of the day, the week's average precision beside them, and all of it as a table."""
    week = report.live_performance
    numbers = {
        **report.today.values,
        "average_precision_week": week.value if week else None,
        "average_precision_promised": week.holdout_value if week else None,
    }
    return {
        **{name: value for name, value in numbers.items() if value is not None},
        "frauds": report.today.frauds,
        "rows": report.today.rows,
        "champion_version": report.version,
        "performance": grid_table(live_grid(report)),
        "served": grid_table(served_grid(report)),
    }


def skew_metadata(report: ServedSkew) -> dict[str, Any]:
    """Share and counts by reason as numbers that are plotted over the days, and the features in a sentence."""
    share = {"equal_share": report.equal_share} if report.equal_share is not None else {}
    return {
        **share,
        "served": report.served,
        "transactions": report.distinct,
        "not_in_lake": report.not_in_lake,
        **({"other_segment": report.other_segment} if report.other_segment else {}),
        "not_served": report.not_served,
        "different": report.different,
        # Nought too: a number that is absent on calm days could not be plotted.
        **{reason.value: report.differing.get(reason, 0) for reason in Reason},
        "summary": report.summary(),
    }
