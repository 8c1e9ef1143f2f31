"""The tables that people read about a day under the champion.

Here: the grids of a drift report and of live performance. Not here: how a grid is printed, and the grids of a candidate
(`domain/review/tables.py`).
"""

from fraud_retraining.domain.monitoring.drift import (
    FRAUD_RATE,
    DriftReport,
    FeatureDrift,
    FraudRateDrift,
    left_out_reasons,
)
from fraud_retraining.domain.monitoring.live_performance import PerformanceReport
from fraud_retraining.domain.values.plain_tables import NONE, Cell, Grid, grid, number, span


def drift_grid(report: DriftReport) -> Grid:
    """Everything that was judged, the farthest first."""
    found = {one.name: one for one in report.features}
    rows = (
        _rate_row(report.fraud_rate, report.threshold)
        if report.fraud_rate is not None and name == FRAUD_RATE
        else _feature_row(found[name], report.threshold)
        for name, _, _ in report.named
    )
    return grid(
        "drift",
        f"{report.day} against what champion version {report.version} has learnt from",
        (
            "feature",
            "group",
            "drift",
            "importance",
            "psi",
            "jensen_shannon",
            "usual",
            "missing",
            "new",
            "heavy keys",
            "result",
        ),
        rows,
        note=f"Drift is what {report.statistic} goes beyond the usual; over {report.threshold:g} it has drifted. What "
        f"drifted holds {report.drifted_importance:.1%} of the model; from {report.min_importance:.1%} on it counts.",
    )


def _feature_row(one: FeatureDrift, threshold: float) -> tuple[Cell, ...]:
    newcomers = "".join(f", {word}: {rows:,}" for word, rows in one.newcomers)
    return (
        one.name,
        one.group,
        number(one.drift),
        number(one.importance, ".2%"),
        number(one.psi),
        number(one.jensen_shannon),
        number(one.usual),
        number(one.missing, ".2%"),
        number(one.new, ".2%") + newcomers,
        one.heavy or NONE,
        _result(one.drift, threshold),
    )


def _rate_row(rate: FraudRateDrift, threshold: float) -> tuple[Cell, ...]:
    shown = f"{rate.rate:.3%} on {rate.day} ({rate.frauds:,} of {rate.rows:,}), learnt from {rate.reference:.3%}"
    usual = f"{rate.deviation:.3%}"
    result = _result(rate.drift, threshold)
    return (FRAUD_RATE, FRAUD_RATE, number(rate.drift), NONE, NONE, NONE, usual, NONE, shown, NONE, result)


def _result(drift: float, threshold: float) -> str:
    return "drifted" if drift > threshold else "calm"


def left_out_grid(report: DriftReport) -> Grid:
    """Features that were not judged, with the reason."""
    return grid("left_out", "Not judged", ("feature", "why"), left_out_reasons(report).items())


def served_grid(report: PerformanceReport) -> Grid:
    """The week by the version that served: what it reached on its days beside what its holdout promised."""
    rows = (
        (
            f"{one.version}",
            f"{one.as_of}",
            f"{one.days[0]} to {one.days[-1]}",
            f"{one.rows:,}",
            f"{one.frauds:,}",
            number(one.average_precision),
            number(one.promised.value if one.promised else None),
            span(one.promised),
        )
        for one in report.parts
    )
    live = report.live_performance
    return grid(
        "served",
        f"Who served on {report.recent.first} to {report.recent.last}",
        ("version", "as of", "days", "rows", "frauds", "average precision", "holdout", "holdout interval"),
        rows,
        note=live.summary(None) if live else "No fraud is known on these days.",
    )


def live_grid(report: PerformanceReport) -> Grid:
    """Every metric of the day and of the week that ends with it, and what the version reached on its holdout."""
    week, today = report.recent, report.today
    holdout = {"average_precision": report.holdout}
    rows = (
        (
            name,
            number(today.values[name]),
            span(today.intervals.get(name)),
            number(week.values.get(name)),
            span(week.intervals.get(name)),
            number(known.value if (known := holdout.get(name)) else None),
            span(holdout.get(name)),
        )
        for name in today.values
    )
    return grid(
        "performance",
        f"Version {report.version} on {report.day} and on {week.first} to {week.last}",
        ("metric", "day", "day interval", "week", "week interval", "holdout", "holdout interval"),
        rows,
        note=f"Labels as known by {report.known_by}. {today.frauds:,} frauds on the day, {week.frauds:,} in the week.",
    )
