"""The ledger: the append-only record of every decision, and the current state of every release.

Here: the one class that callers use. Its parts are beside it: `event_log.py` (events), `releases.py`, `decisions.py`,
`promotions.py`, `automation.py` (pauses and requests), `verification.py` and `signing.py`. Not here: which moves are
allowed (`domain/releases/lifecycle.py`), how rows are chained (`domain/ledger/hash_chain.py`), and SQL
(`adapters/ledger/database.py`).
"""

from fraud_retraining.adapters.ledger.decisions import DecisionRecords
from fraud_retraining.adapters.ledger.promotions import PromotionRecords
from fraud_retraining.adapters.ledger.signing import SigningRecords


class Ledger(DecisionRecords, PromotionRecords, SigningRecords):
    """The record of one model's decisions: its events, and the releases that they made.

    Every method that writes is one transaction: its event and its working row are both there, or neither is.
    """
