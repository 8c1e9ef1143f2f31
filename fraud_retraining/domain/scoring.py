"""The name by which the scorer of models that were registered without their own reader imports it.

Nothing else uses it. It goes when no such model can be brought back any more.
"""

from fraud_retraining.domain.training.scoring import FittedModel

__all__ = ["FittedModel"]
