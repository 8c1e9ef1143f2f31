"""Models that were registered without their own reader import `FittedModel` from here."""

from fraud_retraining.domain.scoring import FittedModel
from fraud_retraining.domain.training import scoring


def test_the_name_of_old_scorers_is_the_fitted_model_of_today() -> None:
    assert FittedModel is scoring.FittedModel
