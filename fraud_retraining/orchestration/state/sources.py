"""The sources that decisions about runs are read from.

Here: the bundle that sensors, schedules and the reading functions of this package share. Not here: what is read.
"""

from dataclasses import dataclass

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.orchestration.resources import ResourceBundle
from fraud_retraining.settings import Settings


@dataclass(frozen=True)
class Sources(ResourceBundle):
    """Settings, lake, store and ledger."""

    settings: Settings
    lake: Lake
    store: Store
    ledger: Ledger
