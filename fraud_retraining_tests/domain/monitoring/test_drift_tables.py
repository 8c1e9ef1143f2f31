"""The tables of a day carry every number of its reports, the worst first."""

from datetime import date

from fraud_retraining.domain.monitoring.drift import DriftReport, FeatureDrift, FraudRateDrift
from fraud_retraining.domain.monitoring.drift_tables import drift_grid, left_out_grid, live_grid, served_grid
from fraud_retraining.domain.monitoring.live_performance import Live, PerformanceReport, ServedPart
from fraud_retraining.domain.values.interval import Interval

DAY = date(2026, 3, 9)


def feature(name: str, drift: float, **more: object) -> FeatureDrift:
    values = {"group": "transaction", "psi": drift + 0.01, "jensen_shannon": 0.1, "usual": 0.01, "missing": 0.25}
    return FeatureDrift.model_validate({"name": name, "drift": drift, "new": 0.5, "counts": (1, 2), **values, **more})


REPORT = DriftReport(
    day=DAY,
    version=3,
    fingerprint="f",
    statistic="psi",
    threshold=0.2,
    rows=3,
    features=(feature("channel", 0.9, newcomers=(("wallet", 1200), ("atm", 3))), feature("amount", 0.1)),
    left_out={"hour": "follows the calendar"},
    groups=("transaction",),
    scores="scored by another version",
    fraud_rate=FraudRateDrift(
        day=date(2026, 3, 2), rows=1000, frauds=24, rate=0.024, reference=0.008, deviation=0.001, drift=0.4
    ),
    no_fraud_rate="",
)


def test_a_report_is_a_table_with_the_farthest_first() -> None:
    grid = drift_grid(REPORT)
    assert [row[0] for row in grid.rows] == ["channel", "fraud_rate", "amount"]
    assert [row[-1] for row in grid.rows] == ["drifted", "drifted", "calm"]
    channel = dict(zip(grid.columns, grid.rows[0], strict=True))
    assert channel["new"] == "50.00%, wallet: 1,200, atm: 3"
    assert channel["missing"] == "25.00%"
    assert "2.400% on 2026-03-02 (24 of 1,000), learnt from 0.800%" in grid.rows[1]


def test_what_is_not_judged_is_a_table_of_reasons() -> None:
    assert left_out_grid(REPORT).rows == (("hour", "follows the calendar"), ("score", "scored by another version"))


def test_live_performance_lies_beside_the_week_and_the_holdout() -> None:
    def interval(value: float) -> Interval:
        return Interval(value=value, low=value - 0.1, high=value + 0.1, deviation=0.05)

    def live(value: float) -> Live:
        values = {"average_precision": value, "card_precision_at_100": 0.3, "roc_auc": None}
        return Live(
            first=DAY, last=DAY, rows=9, frauds=2, values=values, intervals={"average_precision": interval(value)}
        )

    report = PerformanceReport(
        day=DAY,
        version=3,
        fingerprint="f",
        known_by=date(2026, 3, 16),
        today=live(0.5),
        recent=live(0.6),
        holdout=interval(0.7),
    )
    assert live_grid(report).rows == (
        ("average_precision", "0.5000", "0.4000 to 0.6000", "0.6000", "0.5000 to 0.7000", "0.7000", "0.6000 to 0.8000"),
        ("card_precision_at_100", "0.3000", "-", "0.3000", "-", "-", "-"),
        ("roc_auc", "-", "-", "-", "-", "-", "-"),
    )


def test_the_week_is_reported_by_the_version_that_served_it() -> None:
    week = Live(first=DAY, last=DAY, rows=9, frauds=2, values={}, intervals={})
    part = ServedPart(version=3, as_of=date(2026, 3, 7), days=(DAY,), rows=9, frauds=2, average_precision=0.5)
    report = PerformanceReport(
        day=DAY, version=3, fingerprint="f", known_by=date(2026, 3, 16), today=week, recent=week, parts=(part,)
    )
    assert served_grid(report).rows == (("3", "2026-03-07", "2026-03-09 to 2026-03-09", "9", "2", "0.5000", "-", "-"),)
