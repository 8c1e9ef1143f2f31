"""Evaluations as flat numbers for MLflow, and as Dagster's metadata.

Here: names of numbers, and the tables beside them. Not here: computing metrics (`domain/evaluation/metrics.py`) and the
content of tables (`domain/review/tables.py`).
"""

from collections.abc import Mapping
from typing import Any

from fraud_retraining.domain.evaluation.alert_volume import AlertChange
from fraud_retraining.domain.evaluation.comparison import Comparison
from fraud_retraining.domain.evaluation.gates import Evidence
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.releases.verdict_checks import outcome_of
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.review.tables import gates_grid, metrics_grid, thresholds_grid
from fraud_retraining.orchestration.rendering import figure, grid_table, review_metadata


def flat_metrics(evidence: Evidence) -> dict[str, float]:
    """Every defined number under a flat name, as MLflow keeps them.

    A bare name is the candidate's on the `compared_rows`, where `champion.*` was measured too; what is the candidate's
    on more rows than those is under `all_holdout.*`. `difference.*` is the candidate's less the champion's.
    """
    found = {
        "": evidence.beside,
        "champion.": evidence.champion,
        "all_holdout.": evidence.candidate if evidence.partly_compared else None,
        "fixed.": evidence.fixed_beside,
        "fixed_champion.": evidence.fixed_champion,
    }
    numbers = {
        f"{prefix}{metric}": value
        for prefix, metrics in found.items()
        if metrics is not None
        for metric, value in metrics.values.items()
        if value is not None
    }
    return {**numbers, **_difference(evidence), "compared_rows": evidence.beside.rows}


def _difference(evidence: Evidence) -> dict[str, float]:
    """The difference that the gate judged, with its interval."""
    comparison = evidence.comparison
    if not isinstance(comparison, Comparison):
        return {}
    difference = comparison.difference
    return {
        f"difference.average_precision{end}": value
        for end, value in (("", difference.value), (".low", difference.low), (".high", difference.high))
    }


def age_metrics(evaluation: Evaluation) -> dict[str, float]:
    """The average precision to expect of live days, and age and drift of the fixed evaluation days."""
    aged, fixed = evaluation.aged, evaluation.fixed_age
    found = {"expected_live.average_precision": aged.average_precision.value} if aged else {}
    if fixed is not None:
        found |= {"fixed.age_days": fixed.age_days, "fixed.drift_index": fixed.drift_index}
    return found


def evaluation_metadata(
    evaluation: Evaluation, review_report: ReviewReport | None, drawn: Mapping[str, bytes] | None = None
) -> dict[str, Any]:
    """The evaluation as Dagster shows it: numbers, gates, metrics, and the review report where it can be read."""
    shown = review_metadata(review_report, drawn) if review_report else {}
    return {**_numbers_and_tables(evaluation, review_report), **shown}


def _numbers_and_tables(evaluation: Evaluation, review_report: ReviewReport | None) -> dict[str, Any]:
    evidence = evaluation.evidence
    found = {
        **flat_metrics(evidence),
        **{f"ages.{name}": value for name, value in age_metrics(evaluation).items()},
    }.items()
    numbers = {name: figure(value) for name, value in found if not name.startswith("fixed")}
    intervals = review_report.intervals if review_report else None
    metrics = metrics_grid(evidence.beside, evidence.champion, intervals)
    fixed, alerts = evidence.fixed_beside, evidence.alerts
    on_fixed = review_report.fixed_intervals if review_report else None
    return {
        **numbers,
        "verdict": outcome_of(evaluation.verdict).replace("_", " "),
        "champion_version": evaluation.champion_version or "none",
        "gates": grid_table(gates_grid(evaluation.verdict)),
        "metrics": grid_table(metrics),
        **({"thresholds": grid_table(thresholds_grid(alerts))} if isinstance(alerts, AlertChange) else {}),
        **({"fixed_metrics": grid_table(metrics_grid(fixed, evidence.fixed_champion, on_fixed))} if fixed else {}),
        "reused": evaluation.reused,
    }
