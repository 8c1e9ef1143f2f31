"""What Dagster's UI shows of a drift report and of live performance.

Here: tables and pictures as metadata. Not here: the numbers (`domain/drift.py`, `domain/performance.py`) and the
pictures of candidate and champion (`orchestration/rendering.py`).
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from fraud_retraining.domain.bins import Bins
from fraud_retraining.domain.drift import (
    FRAUD_RATE,
    SCORE,
    DriftReport,
    FeatureDrift,
    FeatureProfile,
    HoldoutProfile,
    ReferenceProfile,
    left_out_reasons,
)
from fraud_retraining.domain.metrics import Interval
from fraud_retraining.domain.performance import PerformanceReport
from fraud_retraining.orchestration.rendering import CANDIDATE, GREY, markdown_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORST = 4
COLUMNS = ("feature", "group", "drift", "psi", "jensen_shannon", "usual", "missing", "new", "result")


def drift_metadata(report: DriftReport, profile: ReferenceProfile, holdout: HoldoutProfile | None) -> dict[str, Any]:
    """The greatest drift as a number that is plotted over the days, every feature, and a picture of the worst."""
    profiles = {one.bins.name: one for one in profile.features}
    if holdout is not None:
        profiles[SCORE] = holdout.score
    over = report.over()
    return {
        "drift": report.value,
        "drifted": len(over),
        "worst": ", ".join(over) or "none over the threshold",
        "threshold": report.threshold,
        "champion_version": report.version,
        "rows": report.rows,
        "features": drift_table(report),
        "left out": left_out_table(report),
        "reference and day": markdown_image(worst_png(report, profiles), "reference and day"),
    }


def drift_table(report: DriftReport) -> dg.TableMetadataValue:
    """Everything that was judged, the farthest first."""
    found = {one.name: one for one in report.features}
    records = [_record(found[name], report) if name in found else _rate_record(report) for name, _, _ in report.named]
    schema = dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in COLUMNS])
    return dg.MetadataValue.table(records=[dg.TableRecord(record) for record in records], schema=schema)


def _record(one: FeatureDrift, report: DriftReport) -> dict[str, str]:
    newcomers = "".join(f" {word}: {rows:,}" for word, rows in one.newcomers)
    return {
        "feature": one.name,
        "group": one.group,
        "drift": f"{one.drift:.4f}",
        "psi": f"{one.psi:.4f}",
        "jensen_shannon": f"{one.jensen_shannon:.4f}",
        "usual": f"{one.usual:.4f}",
        "missing": f"{one.missing:.2%}",
        "new": f"{one.new:.2%}{newcomers}",
        "result": "drifted" if one.drift > report.threshold else "calm",
    }


def _rate_record(report: DriftReport) -> dict[str, str]:
    rate = report.fraud_rate
    assert rate is not None
    told = f"{rate.rate:.3%} on {rate.day} ({rate.frauds} of {rate.rows:,}), training days {rate.reference:.3%}"
    return {
        "feature": FRAUD_RATE,
        "group": FRAUD_RATE,
        "drift": f"{rate.drift:.4f}",
        "psi": "-",
        "jensen_shannon": "-",
        "usual": f"{rate.deviation:.3%}",
        "missing": "-",
        "new": told,
        "result": "drifted" if rate.drift > report.threshold else "calm",
    }


def left_out_table(report: DriftReport) -> dg.TableMetadataValue:
    """What was not judged, and why."""
    records = [dg.TableRecord({"feature": name, "why": why}) for name, why in left_out_reasons(report).items()]
    schema = dg.TableSchema(columns=[dg.TableColumn("feature", "string"), dg.TableColumn("why", "string")])
    return dg.MetadataValue.table(records=records, schema=schema)


def worst_png(report: DriftReport, profiles: Mapping[str, FeatureProfile]) -> bytes:
    """Reference and day of the features that are farthest apart, share by bin, without the bins that neither fills."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [one for one in report.features if one.name in profiles][:WORST]
    figure = Figure(figsize=(9, 5.6), dpi=100)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.88, bottom=0.13, hspace=0.75, wspace=0.15)
    FigureCanvasAgg(figure)
    for number, one in enumerate(shown, start=1):
        _draw(figure.add_subplot(2, WORST // 2, number), one, profiles[one.name])
    if shown:
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=2, loc="upper right"
        )
    title = f"{report.day} beside what champion version {report.version} has learnt from"
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def _draw(axes: "Axes", one: FeatureDrift, profile: FeatureProfile) -> None:
    reference, day = _shares(profile.counts), _shares(one.counts)
    shown = np.flatnonzero((reference > 0) | (day > 0))
    places = np.arange(len(shown))
    axes.bar(places - 0.2, reference[shown], 0.4, color=GREY, label="reference")
    axes.bar(places + 0.2, day[shown], 0.4, color=CANDIDATE.color, label="day")
    axes.set_xticks(places, [_ticks(profile.bins)[at] for at in shown], rotation=45, ha="right", fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{one.name}: drift {one.drift:.3f}", loc="left", fontsize=9)


def _shares(counts: Sequence[int]) -> np.ndarray[Any, Any]:
    rows = np.asarray(counts, np.float64)
    return rows / max(rows.sum(), 1)


def _ticks(bins: Bins) -> tuple[str, ...]:
    return tuple(label if len(label) <= 14 else f"{label[:13]}…" for label in bins.labels)


def performance_metadata(report: PerformanceReport) -> dict[str, Any]:
    """The numbers of the day and of the week that ends with it, beside what the version reached on its holdout."""
    week, today = report.recent, report.today
    numbers = {
        "average_precision": today.average_precision.value if today.average_precision else None,
        "average_precision_week": week.average_precision.value if week.average_precision else None,
        "holdout_average_precision": report.holdout.value if report.holdout else None,
        **{name: value for name, value in today.values.items() if name != "average_precision"},
    }
    return {
        **{name: value for name, value in numbers.items() if value is not None},
        "frauds": today.frauds,
        "rows": today.rows,
        "champion_version": report.version,
        "labels known by": report.known_by.isoformat(),
        "intervals": _intervals(report),
    }


def _intervals(report: PerformanceReport) -> dg.TableMetadataValue:
    days = f"{report.recent.first} to {report.recent.last}"
    found = {
        report.day.isoformat(): report.today.average_precision,
        days: report.recent.average_precision,
        "its own holdout": report.holdout,
    }
    columns = ("days", "average_precision", "low", "high")
    records = [dg.TableRecord({"days": name, **_interval(one)}) for name, one in found.items()]
    return dg.MetadataValue.table(
        records=records, schema=dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in columns])
    )


def _interval(one: Interval | None) -> dict[str, str]:
    if one is None:
        return {"average_precision": "-", "low": "-", "high": "-"}
    return {"average_precision": f"{one.value:.4f}", "low": f"{one.low:.4f}", "high": f"{one.high:.4f}"}
