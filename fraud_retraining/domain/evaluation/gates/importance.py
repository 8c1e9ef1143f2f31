"""The gate on feature importance: a leaked label shows as one feature that decides alone."""

from fraud_retraining.domain.evaluation.gates.evidence import Evidence
from fraud_retraining.domain.evaluation.gates.finding import Finding, UnmeasuredError, measured
from fraud_retraining.domain.evaluation.gates.policy import GatePolicy


def feature_importance(policy: GatePolicy, evidence: Evidence) -> Finding:
    """Importance is there, no feature has nearly all of it, and no column of the lake is too good to be true."""
    # Absolute values: a gain below 0 would shrink the total and raise the shares of the others.
    importance = {name: abs(measured(value, f"importance of {name}")) for name, value in evidence.importance.items()}
    total = sum(importance.values())
    if total == 0:
        raise UnmeasuredError("no feature has any importance: the model ignores its input")
    top = max(importance, key=lambda name: importance[name])
    share = importance[top] / total
    reached = evidence.candidate.values.get("average_precision") or 0.0
    if top in evidence.columns and reached > policy.max_plausible_average_precision:
        message = (
            f"{top}, a column of the lake, has most of the importance ({share:.1%}), and the average precision "
            f"{reached:.3f} is too good to be true: a leak of the label is likely. Should {top} be known when a "
            "transaction is scored, raise gates.max_plausible_average_precision."
        )
        limit = policy.max_plausible_average_precision
        return Finding(reached, limit, limit - reached, message, {"feature": top, "importance": share})
    meaning = "a leak of the label is likely" if share > policy.max_importance else "no sign of a leak"
    return Finding(
        share,
        policy.max_importance,
        policy.max_importance - share,
        f"{top} has {share:.1%} of the importance; up to {policy.max_importance:.1%} is accepted: {meaning}.",
        {"feature": top},
    )
