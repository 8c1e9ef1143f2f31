"""Whether the champion learnt with the use of labels of the present settings.

Here: the features of its record in the ledger. Not here: which features belong to which use
(`domain/features/definitions.py`).
"""

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.settings import Settings


def champion_of_other_label_use(ledger: Ledger, settings: Settings) -> str | None:
    """A sentence if the champion learnt with the other use of labels, and cannot be scored; else None."""
    champion = ledger.champion()
    trained = ledger.last(EventKind.MODEL_TRAINED, fingerprint=champion.fingerprint) if champion else None
    if champion is None or trained is None:
        return None
    why = settings.feature_plan.other_label_use(trained.payload["importance"])
    return (
        f"champion version {champion.version} cannot be scored: {why}. The next retrain learns anew, is not compared "
        "with it, and waits for a human"
        if why
        else None
    )
