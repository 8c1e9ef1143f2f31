"""Gates on the candidate alone: its ranking on the holdout reaches the floors."""

from fraud_retraining.domain.evaluation.gates.evidence import Evidence
from fraud_retraining.domain.evaluation.gates.finding import Finding, figures, measured
from fraud_retraining.domain.evaluation.gates.policy import GatePolicy


def _floor(value: float, floor: float, what: str) -> Finding:
    shown, limit, distance = figures(value, floor)
    side = "above" if value >= floor else "below"
    return Finding(value, floor, value - floor, f"{what} {shown} is {side} the floor {limit} by {distance}.")


def average_precision_floor(policy: GatePolicy, evidence: Evidence) -> Finding:
    """Average precision on the holdout reaches its floor."""
    value = measured(evidence.candidate.values["average_precision"], "average precision")
    return _floor(value, policy.min_average_precision, f"Average precision on {_all_rows(evidence)}")


def roc_auc_floor(policy: GatePolicy, evidence: Evidence) -> Finding:
    """ROC AUC on the holdout reaches its floor."""
    value = measured(evidence.candidate.values["roc_auc"], "ROC AUC")
    return _floor(value, policy.min_roc_auc, f"ROC AUC on {_all_rows(evidence)}")


def _all_rows(evidence: Evidence) -> str:
    selected = evidence.candidate.selected
    rows = f"all {evidence.candidate.rows:,} holdout rows"
    if selected is None:
        return rows
    if selected.represented < 1:
        return f"{rows} that were not blocked ({selected.unknown:,} were, and no control group stands for them)"
    return f"{rows}, of which a control group stands for {selected.represented:,.0f} blocked ones,"
