"""The digests that a stored day of transactions has had.

Here: reading them off the record of the day. Not here: what makes a day another one
(`domain/data/reproducibility.py`).
"""

from fraud_retraining.adapters.storage.store import Partition
from fraud_retraining.domain.data.reproducibility import StoredDay

EARLIER = "earlier_digests"


def stored_day(partition: Partition) -> StoredDay:
    """The digest of `transactions` of a day, and those that it had before."""
    return StoredDay(digest=partition.digest, **partition.facts.get(EARLIER, {}))
