"""Gates on the candidate's scores: they are probabilities, and differ from each other."""

from fraud_retraining.domain.evaluation.gates.evidence import Evidence
from fraud_retraining.domain.evaluation.gates.finding import Finding, UnmeasuredError, measured
from fraud_retraining.domain.evaluation.gates.policy import GatePolicy


def calibration(policy: GatePolicy, evidence: Evidence) -> Finding:
    """Scores can be read as probabilities: calibration error beyond chance, as a multiple of the fraud rate.

    On a week of the handbook data a sound XGBoost shows .03 to .16; one trained on a tenth of the other transactions
    without weights 2.1 to 2.3, one with `scale_pos_weight=5` .8 to .9.
    """
    found = evidence.candidate.calibration
    if found is None:
        raise UnmeasuredError("the scores are not probabilities")
    rate = measured(evidence.candidate.fraud_rate, "fraud rate")
    if rate == 0:
        raise UnmeasuredError("the holdout holds no fraud")
    value = max(0.0, found.error - found.chance) / rate
    expected = sum(bin_.expected for bin_ in found.bins)
    return Finding(
        value,
        policy.max_calibration_error,
        policy.max_calibration_error - value,
        f"Scores are off by {found.error:.5f} on average, {value:.0%} of the fraud rate {rate:.5f} beyond chance; "
        f"{policy.max_calibration_error:.0%} is allowed. The scores expect {expected:,.0f} frauds, "
        f"{evidence.candidate.frauds_words} were there.",
        {"error": found.error, "chance": found.chance, "fraud_rate": rate, "expected_frauds": expected},
    )


def score_variety(policy: GatePolicy, evidence: Evidence) -> Finding:
    """Scores are probabilities and differ from each other."""
    scores = evidence.scores
    numbers: dict[str, float | int | str] = {"distinct": scores.distinct, "not_finite": scores.not_finite}
    if scores.not_finite:
        message = f"{scores.not_finite:,} scores are not numbers."
        return Finding(scores.not_finite, 0, -scores.not_finite, message, numbers)
    low, high = measured(scores.minimum, "score"), measured(scores.maximum, "score")
    numbers |= {"minimum": low, "maximum": high}
    if low < 0 or high > 1:
        message = f"Scores from {low:g} to {high:g} are not probabilities."
        # The bound that is missed by more: value, limit and margin are one quantity.
        value, limit, margin = (low, 0, low) if low < 1 - high else (high, 1, 1 - high)
        return Finding(value, limit, margin, message, numbers)
    margin = scores.distinct - policy.min_distinct_scores
    said = f"The model gives {scores.distinct:,} different scores" if scores.distinct > 1 else "Every score is the same"
    message = f"{said}, from {low:.3g} to {high:.3g}; at least {policy.min_distinct_scores} different ones are needed."
    return Finding(scores.distinct, policy.min_distinct_scores, margin, message, numbers)
