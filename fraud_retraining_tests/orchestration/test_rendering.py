"""Pictures are small PNGs whatever they show, and tables carry every number of the record."""

import base64
import struct
import warnings
from datetime import date

import numpy as np
import pytest

from fraud_retraining.domain.comparison import compare
from fraud_retraining.domain.gates import NO_CHAMPION, GatePolicy, gather_evidence, judge
from fraud_retraining.domain.judged import Judged, Pair
from fraud_retraining.domain.metrics import evaluate
from fraud_retraining.domain.schemas import LabelPolicy
from fraud_retraining.domain.windows import HoldoutPolicy, RollingWindow, TrainingWindow, WindowDay, window_days
from fraud_retraining.orchestration.rendering import (
    calibration_png,
    gates_table,
    importance_table,
    markdown_image,
    metrics_table,
    precision_recall_png,
    score_histogram_png,
    slices_table,
    window_table,
)

POLICY = GatePolicy(resamples=100, min_slice_frauds=20)


def rows(count=5000, rate=0.03, spread=1.0, seed=0):
    random = np.random.default_rng(seed)
    labels = (random.random(count) < rate).astype(np.int8)
    scores = 1 / (1 + np.exp(-(spread * random.normal(size=count) + 3 * labels - 4)))
    return Judged(labels, scores, random.integers(0, 500, count), np.zeros(count, np.int32), random.gamma(1, 60, count))


CANDIDATE = rows()
CHAMPION = CANDIDATE.with_scores(np.random.default_rng(1).random(5000))
HARD_TO_DRAW = {
    "no fraud": rows(rate=0),
    "only fraud": rows(rate=1),
    "constant": rows().with_scores(np.full(5000, 0.03)),
    "all zero": rows().with_scores(np.zeros(5000)),
    "not numbers": rows().with_scores(np.full(5000, np.nan)),
    "three rows": rows(3),
}


@pytest.mark.parametrize(
    ("judged", "champion"),
    [(CANDIDATE, None), (CANDIDATE, CHAMPION), *((judged, judged) for judged in HARD_TO_DRAW.values())],
    ids=["alone", "with champion", *HARD_TO_DRAW],
)
def test_every_picture_is_a_small_png_and_draws_without_a_warning(judged, champion):
    metrics = evaluate(judged, POLICY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = [
            precision_recall_png(judged, champion),
            score_histogram_png(judged),
            calibration_png(metrics, metrics if champion else None),
        ]
    for png in pictures:
        assert png.startswith(b"\x89PNG")
        assert struct.unpack(">II", png[16:24]) == (600, 400)
        assert len(png) < 60_000


def test_the_same_rows_give_the_same_bytes():
    assert precision_recall_png(CANDIDATE, CHAMPION) == precision_recall_png(CANDIDATE, CHAMPION)


def test_a_picture_travels_within_its_markdown():
    png = score_histogram_png(CANDIDATE)
    text = markdown_image(png, "candidate scores").value
    assert text.startswith("![candidate scores](data:image/png;base64,")
    assert base64.b64decode(text.split(",")[1].rstrip(")")) == png


def test_the_gates_table_says_passed_failed_warned_or_not_applicable():
    policy = GatePolicy(resamples=100, min_roc_auc=0.999, max_calibration_error=0.01, advisory=("calibration",))
    evidence = gather_evidence(policy, holdout=CANDIDATE, comparison=NO_CHAMPION, importance={"a": 1, "b": 1})
    verdict = judge(policy, evidence)
    records = {record.data["gate"]: record.data for record in gates_table(verdict).records}
    assert list(records) == [gate.name for gate in verdict.gates]
    assert records["average_precision_floor"]["result"] == "passed"
    assert records["roc_auc_floor"]["result"] == "failed"
    assert records["calibration"]["result"] == "warning"
    assert (records["no_regression"]["result"], records["no_regression"]["value"]) == ("not applicable", "-")
    assert records["no_regression"]["message"] == "Not compared: there is no champion yet."


def test_the_metrics_table_sets_the_models_side_by_side():
    candidate, champion = evaluate(CANDIDATE, POLICY), evaluate(CHAMPION, POLICY)
    first = metrics_table(candidate, champion).records[0].data
    apart = candidate.values["average_precision"] - champion.values["average_precision"]
    assert first["metric"] == "average_precision"
    assert first["difference"] == f"{apart:+.4f}"
    assert [column.name for column in metrics_table(candidate).schema.columns] == ["metric", "candidate"]
    other_rows = metrics_table(candidate, evaluate(rows(4000), POLICY)).records[0].data
    assert other_rows["difference"] == "-"
    undefined = metrics_table(evaluate(HARD_TO_DRAW["no fraud"], POLICY), champion).records[0].data
    assert undefined["candidate"] == "-"


def test_the_slices_table_shows_the_champion_only_where_both_were_compared():
    metrics = evaluate(CANDIDATE, POLICY)
    comparison = compare(Pair(CANDIDATE, CHAMPION), POLICY)
    records = [record.data for record in slices_table(metrics, comparison).records]
    assert len(records) == len(metrics.slices)
    compared = {one.value for one in comparison.slices}
    assert {record["value"] for record in records if record["difference"] != "-"} == compared
    assert all(record["rows"] > 0 for record in records)
    assert "champion" not in slices_table(metrics).records[0].data


def test_importance_comes_greatest_first():
    records = importance_table({"night": 0.1, "amount": 0.7, "hour": 0.2}).records
    assert [record.data["feature"] for record in records] == ["amount", "hour", "night"]


def test_the_window_table_lists_every_day_and_what_it_is_for():
    days = window_days(date(2018, 8, 14), RollingWindow(days=2), HoldoutPolicy(days=1), LabelPolicy())
    made = {
        use: tuple(WindowDay(day=day, digest="d" * 64, features_digest="f" * 64, rows=10, frauds=1) for day in range_)
        for use, range_ in (("training", days.training), ("holdout", days.holdout))
    }
    window = TrainingWindow(days=days, label_delay_days=7, features=("amount",), features_policy="p", **made)
    records = [record.data for record in window_table(window).records]
    assert [(record["day"], record["use"]) for record in records] == [
        ("2018-08-05", "training"), ("2018-08-06", "training"), ("2018-08-07", "holdout"),
    ]  # fmt: skip


def test_a_table_without_rows_is_still_a_table():
    assert importance_table({}).records == []
