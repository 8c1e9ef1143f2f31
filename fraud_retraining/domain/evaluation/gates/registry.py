"""The gates by name, in the order in which a verdict has them."""

from fraud_retraining.domain.evaluation.gates.alerts import score_contract
from fraud_retraining.domain.evaluation.gates.finding import Gate
from fraud_retraining.domain.evaluation.gates.floors import average_precision_floor, roc_auc_floor
from fraud_retraining.domain.evaluation.gates.importance import feature_importance
from fraud_retraining.domain.evaluation.gates.regression import (
    fixed_no_regression,
    no_regression,
    no_slice_regression,
)
from fraud_retraining.domain.evaluation.gates.scores import calibration, score_variety

GATES: dict[str, Gate] = {
    "average_precision_floor": Gate("Average precision on the holdout reaches its floor.", average_precision_floor),
    "roc_auc_floor": Gate("ROC AUC on the holdout reaches its floor.", roc_auc_floor),
    "no_regression": Gate("The candidate is not worse than the champion on the same holdout rows.", no_regression),
    "fixed_no_regression": Gate("Nor on the fixed evaluation days, where there are any.", fixed_no_regression),
    "no_slice_regression": Gate("The candidate is not much worse in any slice.", no_slice_regression),
    "calibration": Gate("The candidate's scores can be read as probabilities.", calibration),
    "score_variety": Gate("The candidate's scores are probabilities and not all the same.", score_variety),
    "score_contract": Gate("Thresholds give as many alerts as with the champion.", score_contract),
    "feature_importance": Gate("Features matter, and none decides alone as a leaked label would.", feature_importance),
}
"""A name is stored in verdicts; do not change it later."""
