"""A small review: two models that learnt from different rows, and what a reviewer is shown of them."""

from datetime import date, datetime, timedelta
from functools import cache

import numpy as np
import pyarrow as pa

from fraud_retraining.domain.evaluation.cost_curve import cost_curve
from fraud_retraining.domain.evaluation.gates import (
    NO_CHAMPION,
    NO_FIXED_SET,
    EvaluatedRows,
    Evidence,
    GatePolicy,
    collect_evidence,
)
from fraud_retraining.domain.evaluation.judged import Judged, Pair
from fraud_retraining.domain.monitoring.drift import DriftReport, FeatureDrift
from fraud_retraining.domain.review.assembly import (
    ReviewContext,
    ReviewedModel,
    ReviewedModels,
    ReviewSubject,
    assemble_review_report,
)
from fraud_retraining.domain.review.report import MatureDay, ReviewReport
from fraud_retraining.domain.review.row_sample import RowSample
from fraud_retraining.domain.serving.policy import CostPolicy
from fraud_retraining.domain.training.fitting import ModelPolicy, fit
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining_tests.support.gate_evidence import alert_changes, threshold_alerts

FIRST = date(2026, 11, 1)
AS_OF = date(2026, 11, 14)
ROWS, DAYS = 4000, 4
POLICY = GatePolicy(resamples=100, min_slice_frauds=20, alert_budget=10, slices=("city",), min_average_precision=0.1)
FEATURES = ("amount", "night", "count", "city")
PARAMS = {
    "xgboost": {"n_estimators": 20, "max_depth": 3, "learning_rate": 0.3, "colsample_bytree": 1.0},
    "hist_gradient_boosting": {"max_iter": 10},
    "logistic_regression": {},
}


@cache
def rows(seed: int = 0) -> pa.Table:
    """Transactions whose frauds are large ones, and ones at night."""
    random = np.random.default_rng(seed)
    amount, night = random.gamma(2, 50, ROWS), random.random(ROWS) < 0.2
    odds = 0.03 * (amount - 100) + 2.0 * night - 4 + random.normal(size=ROWS)
    seconds = np.sort(random.integers(0, DAYS * 86_400, ROWS))
    return pa.table(
        {
            "transaction_id": np.arange(ROWS) + seed * ROWS,
            "timestamp": pa.array(
                [datetime.combine(FIRST, datetime.min.time()) + timedelta(seconds=int(s)) for s in seconds]
            ),
            "customer": random.integers(0, 300, ROWS),
            "amount": amount,
            "night": night.astype(np.float32),
            "count": random.integers(0, 9, ROWS).astype(np.float32),
            "city": random.choice(["ash", "birch", "<b>elm</b>"], ROWS).tolist(),
            "is_fraud": (odds > 0).astype(np.int8),
        }
    )


@cache
def fitted(estimator: str = "xgboost", features: tuple[str, ...] = FEATURES, seed: int = 1) -> FittedModel:
    policy = ModelPolicy(estimator=estimator, params=PARAMS[estimator], threads=1)
    categorical = tuple(name for name in features if name == "city")
    return fit(policy, features, categorical, lambda: iter(rows(seed).to_batches()))


def judged(model: FittedModel) -> Judged:
    return Judged.from_table(rows(), model.predict(rows()), entity="customer", slices=("city",))


def sampled(candidate: FittedModel, champion: FittedModel | None, batch_rows: int = 700, **more: int) -> RowSample:
    sample = RowSample(ROWS, **more)
    for batch in rows().to_batches(max_chunksize=batch_rows):
        sample.add(batch, candidate.predict(batch), champion.predict(batch) if champion else None)
    return sample


def evidence_of(candidate: FittedModel, champion: FittedModel | None) -> Evidence:
    mine = judged(candidate)
    pair = Pair(mine, judged(champion)) if champion else NO_CHAMPION
    return collect_evidence(
        POLICY,
        holdout=EvaluatedRows(mine, pair),
        importance=candidate.importance(),
        alerts=alert_changes(threshold_alerts()) if champion else NO_CHAMPION,
    )


COSTS = CostPolicy(alert=3.0, disturbed=8.0, alerts_per_day=40)
"""What a decision costs whose score the report chooses."""

MATURITY = tuple(
    MatureDay(
        day=FIRST + timedelta(days=n), use="holdout", age_days=13 - n, rows=1010, labelled=1000 - 10 * n, frauds=100 - n
    )
    for n in range(DAYS)
)


def _drifted(name: str, drift: float) -> FeatureDrift:
    return FeatureDrift(
        name=name,
        group=name,
        psi=drift + 0.05,
        jensen_shannon=drift / 3,
        usual=0.05,
        drift=drift,
        missing=0.0,
        new=0.01,
        newcomers=(("<i>oak</i>", 3),) if name == "city" else (),
        counts=(10, 20, 30, 0),
    )


DRIFT = DriftReport(
    day=AS_OF,
    version=1,
    fingerprint="c" * 64,
    statistic="psi",
    threshold=0.2,
    rows=1000,
    features=(_drifted("amount", 0.31), _drifted("city", 0.1), _drifted("count", 0.0)),
    left_out={},
    groups=("amount", "city", "count"),
    scores="the champion has scored none of them",
    fraud_rate=None,
    no_fraud_rate="no label is mature yet",
)


def review_report_of(
    mine: Judged,
    candidate: FittedModel,
    rival: Judged | None = None,
    champion: FittedModel | None = None,
    drift: bool = True,
    fixed: tuple[Judged, ...] = (),
) -> ReviewReport:
    """The review report of a candidate on some rows, beside a champion on the same; `fixed`: both on fixed days."""
    on_fixed = EvaluatedRows(fixed[0], Pair(*fixed) if len(fixed) > 1 else NO_FIXED_SET) if fixed else NO_FIXED_SET
    pair = Pair(mine, rival) if rival is not None else NO_CHAMPION
    evidence = collect_evidence(
        POLICY,
        holdout=EvaluatedRows(mine, pair),
        importance=candidate.importance(),
        fixed=on_fixed,
        alerts=alert_changes(threshold_alerts()),
    )
    models = ReviewedModels(
        candidate=ReviewedModel(mine, candidate),
        champion=ReviewedModel(rival, champion) if rival is not None and champion else None,
        sample=sampled(candidate, champion),
        fixed=fixed,
    )
    assembled = assemble_review_report(
        ReviewSubject(AS_OF, "f" * 64, champion_version=1 if champion else None),
        models,
        evidence,
        POLICY,
        ReviewContext(MATURITY, DRIFT if drift else None),
    )
    curve = cost_curve("review", COSTS, mine)
    return assembled.model_copy(update={"costs": (curve,) if curve else ()})


@cache
def review_report(
    estimator: str = "xgboost", against: str | None = "logistic_regression", drift: bool = True
) -> ReviewReport:
    """The review report of a candidate against a champion that does not know the night."""
    candidate = fitted(estimator)
    champion = fitted(against, ("amount", "count", "city")) if against else None
    return review_report_of(judged(candidate), candidate, judged(champion) if champion else None, champion, drift)


def hard_to_draw() -> dict[str, Judged]:
    """Rows that a picture or a table could stumble over."""
    usual = judged(fitted())
    count = len(usual)
    return {
        "no fraud": usual.where(usual.labels == 0),
        "only fraud": usual.where(usual.labels == 1),
        "constant": usual.with_scores(np.full(count, 0.03)),
        "all zero": usual.with_scores(np.zeros(count)),
        "not numbers": usual.with_scores(np.full(count, np.nan)),
        "no probabilities": usual.with_scores(usual.scores * 7 + 2),
        "three rows": usual.where(np.arange(count) < 3),
    }
