"""Known frauds of a served day that no alert was about, as labels are known so far.

Here: the report of a day. Not here: the count (`domain/evaluation/alert_recall.py`) and when it asks for a retrain
(`domain/retraining/triggers/labels.py`).
"""

from datetime import date

from pydantic import Field

from fraud_retraining.domain.evaluation.alert_recall import AlertRecall
from fraud_retraining.domain.retraining.triggers.labels import ServedFrauds
from fraud_retraining.domain.values.base import Value


class MissedFrauds(Value):
    """Frauds of a day that are known by now, under the scores that served it."""

    day: date
    version: int = Field(description="The version that scored the day: the champion of the time.")
    fingerprint: str
    known_by: date = Field(description="Day at whose end the labels were known.")
    alerts: AlertRecall
    promised: AlertRecall | None = Field(None, description="The same on the holdout of the version.")

    @property
    def served(self) -> ServedFrauds:
        """The report as a decision about a retrain reads it."""
        promise = self.promised if self._is_comparable else None
        return ServedFrauds(
            day=self.day,
            version=self.version,
            known=self.alerts.frauds,
            missed=self.alerts.missed,
            promised_missed=promise.promise if promise else None,
            promised_frauds=promise.frauds if promise else 0,
        )

    @property
    def _is_comparable(self) -> bool:
        """Whether day and holdout were counted with the same alerts."""
        promised, here = self.promised, self.alerts
        return promised is not None and (promised.budget, promised.entity) == (here.budget, here.entity)
