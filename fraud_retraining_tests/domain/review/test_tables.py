"""Tables carry every number of the record, and say what is not there."""

from datetime import date

import pytest

from fraud_retraining.domain.evaluation.alert_volume import Change
from fraud_retraining.domain.evaluation.gates import NO_CHAMPION, EvaluatedRows, GatePolicy, collect_evidence, judge
from fraud_retraining.domain.evaluation.metrics import evaluate
from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.review.tables import (
    gates_grid,
    importance_grid,
    left_out,
    metrics_grid,
    review_grids,
    threshold_lines,
    thresholds_grid,
    window_grid,
)
from fraud_retraining.domain.training.windows import (
    HoldoutPolicy,
    RollingWindow,
    TrainingWindow,
    WindowDay,
    window_days,
)
from fraud_retraining.domain.values.interval import Interval
from fraud_retraining_tests.support.gate_evidence import alert_changes, threshold_alerts
from fraud_retraining_tests.support.reviews import (
    POLICY,
    evidence_of,
    fitted,
    hard_to_draw,
    judged,
    review_report,
    review_report_of,
)

HARD = hard_to_draw()


def rows_of(grid):
    return [dict(zip(grid.columns, row, strict=True)) for row in grid.rows]


def grids(made):
    return {grid.name: grid for grid in review_grids(made)}


def test_gates_say_passed_failed_warned_or_not_applicable():
    policy = GatePolicy(resamples=100, min_roc_auc=0.9999, max_calibration_error=1e-6, advisory=("calibration",))
    evidence = collect_evidence(
        policy, holdout=EvaluatedRows(judged(fitted()), NO_CHAMPION), importance={"a": 1, "b": 1}
    )
    verdict = judge(policy, evidence)
    records = {record["gate"]: record for record in rows_of(gates_grid(verdict))}
    assert list(records) == [gate.name for gate in verdict.gates]
    assert records["average_precision_floor"]["result"] == "passed"
    assert records["roc_auc_floor"]["result"] == "failed"
    assert records["calibration"]["result"] == "warning"
    assert (records["no_regression"]["result"], records["no_regression"]["value"]) == ("not applicable", "-")
    assert records["no_regression"]["message"] == "Not compared: there is no champion yet."
    assert records["score_variety"]["threshold"] == "10"
    assert int(records["score_variety"]["value"].replace(",", "")) > 10


def test_metrics_stand_side_by_side_with_their_intervals():
    evidence = evidence_of(fitted(), fitted("logistic_regression", ("amount", "count", "city")))
    first = rows_of(metrics_grid(evidence.candidate, evidence.champion, review_report().intervals))[0]
    apart = evidence.candidate.values["average_precision"] - evidence.champion.values["average_precision"]
    assert first["metric"] == "average_precision"
    assert first["difference"] == f"{apart:+.4f}"
    low, high = map(float, first["difference's interval"].split(" to "))
    assert low < apart < high
    assert metrics_grid(evidence.candidate).columns == ("metric", "candidate")


def test_metrics_of_other_rows_have_no_difference_and_undefined_ones_no_value():
    metrics = evaluate(judged(fitted()), POLICY)
    other = evaluate(HARD["three rows"], POLICY)
    assert {row["difference"] for row in rows_of(metrics_grid(metrics, other))} == {"-"}
    assert rows_of(metrics_grid(evaluate(HARD["no fraud"], POLICY)))[0]["candidate"] == "-"


def test_a_review_report_with_everything_shows_everything():
    shown = grids(review_report())
    assert list(shown) == [
        "costs",
        "alerts",
        "score_quantiles",
        "feature_effects",
        "slices",
        "drift",
        "maturity",
        "disagreements",
    ]
    assert left_out(review_report()) == ()
    assert len(shown["disagreements"].rows) == 20
    assert [(row["feature"], row["result"]) for row in rows_of(shown["drift"])] == [
        ("amount", "drifted"), ("city", "calm"), ("count", "calm"),
    ]  # fmt: skip
    assert rows_of(shown["maturity"])[0] == {
        "day": "2026-11-01", "use": "holdout", "age in days": 13, "rows": 1010, "labelled": 1000,
        "share": "99.0%", "frauds": 100, "fraud rate": "10.0%",
    }  # fmt: skip


def test_what_is_left_out_is_said():
    alone = review_report("xgboost", None, drift=False)
    assert not {"drift", "disagreements"} & set(grids(alone))
    assert left_out(alone) == (
        "Drift: no day before this retrain has a drift report under the champion.",
        "Comparison with a champion: there is no champion yet.",
    )
    assert all("champion" not in column for grid in review_grids(alone) for column in grid.columns)


def test_slices_show_the_champion_only_where_both_were_compared():
    compared = {one.value for one in review_report().slices if one.champion is not None}
    records = rows_of(grids(review_report())["slices"])
    assert {record["value"] for record in records if record["difference"] != "-"} == compared
    assert len(records) == len(review_report().slices)


def test_the_way_effects_were_measured_is_reported():
    note = grids(review_report("hist_gradient_boosting"))["feature_effects"].note
    assert "shuffled among the rows" in note and "the terms of the linear model" in note


@pytest.mark.parametrize("case", HARD)
def test_every_row_has_a_cell_for_every_column(case):
    made = review_report_of(HARD[case], fitted())
    for grid in review_grids(made):
        assert all(len(row) == len(grid.columns) for row in grid.rows)


def test_importance_comes_greatest_first():
    records = rows_of(importance_grid({"night": 0.1, "amount": 0.7, "hour": 0.2}))
    assert [record["feature"] for record in records] == ["amount", "hour", "night"]


def test_the_window_lists_every_day_what_it_is_for_and_its_whole_digest():
    days = window_days(date(2018, 8, 14), RollingWindow(days=2), HoldoutPolicy(days=1), LabelPolicy())
    made = {
        use: tuple(WindowDay(day=day, digest="d" * 64, features_digest="f" * 64, rows=10, frauds=1) for day in range_)
        for use, range_ in (("training", days.training), ("holdout", days.holdout))
    }
    window = TrainingWindow(days=days, label_delay_days=7, features=("amount",), features_policy="p", **made)
    records = rows_of(window_grid(window))
    assert [(record["day"], record["use"]) for record in records] == [
        ("2018-08-05", "training"), ("2018-08-06", "training"), ("2018-08-07", "holdout"),
    ]  # fmt: skip
    assert records[0]["day digest"] == "d" * 64


def test_what_a_threshold_changes_stands_in_a_row_and_in_a_line():
    difference = Interval(value=-12.0, low=-80.0, high=51.0, deviation=30.0)
    money = Change(candidate=900.0, champion=912.0, difference=difference)
    alerts = alert_changes(
        threshold_alerts(1.04, 0.03, money=money),
        threshold_alerts(name="block", at=0.9, candidate=2, champion=0, ratio=None),
    )
    found = thresholds_grid(alerts)
    assert found.rows[0] == (
        "review", "0.4200", "104.0", "100.0", "+4.0%", "+1.0% to +7.0%", "900", "-12 (-80 to +51)", "-", "-",
    )  # fmt: skip
    assert found.rows[1][2:6] == ("0.3", "0.0", "-", "-")
    review, block = threshold_lines(alerts)
    assert review == (
        "review from 0.42 on: 104.0 alerts a day, +4.0% (+1.0% to +7.0%), money stopped -12 (-80 to +51) a day"
    )
    assert block == "block from 0.9 on: 0.3 alerts a day"
