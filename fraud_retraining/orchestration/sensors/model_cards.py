"""The sensor that keeps model cards up to date with the ledger, for every channel that moves a release.

Here: how often it looks. Not here: the content of a card (`domain/review/model_card.py`) and writing it
(`services/model_cards.py`).
"""

import dagster as dg

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.values.errors import DependencyUnreachable
from fraud_retraining.orchestration.names import MODEL_CARDS_SENSOR
from fraud_retraining.services.model_cards import Cards
from fraud_retraining.settings import Settings

LOOK_SECONDS = 60


def build_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor of the cards."""
    status = dg.DefaultSensorStatus.STOPPED if settings.starts_stopped else dg.DefaultSensorStatus.RUNNING

    @dg.sensor(
        name=MODEL_CARDS_SENSOR,
        minimum_interval_seconds=settings.paced(LOOK_SECONDS),
        default_status=status,
        description="Writes the model card of every version with new events in the ledger.",
    )
    def model_cards_sensor(
        context: dg.SensorEvaluationContext,
        ledger: dg.ResourceParam[Ledger],
        registry: dg.ResourceParam[Registry],
        store: dg.ResourceParam[Store],
    ) -> dg.SensorResult:
        # Read before the cards are written: an event in between is then found by the next tick.
        head = str(ledger.head().seq)
        if context.cursor == head:
            return dg.SensorResult(cursor=head, skip_reason="the record has nothing new")
        try:
            written = Cards(ledger, registry, store).refresh_stale()
        except DependencyUnreachable as error:
            return dg.SensorResult(cursor=context.cursor, skip_reason=f"cards stay as they are for now: {error.what}")
        summary = f"cards written: version {', '.join(map(str, written))}" if written else "every card is up to date"
        return dg.SensorResult(cursor=head, skip_reason=summary)

    return model_cards_sensor
