"""One table of a day as a worker of Spark writes it into the store, and what the driver has to know of it.

Here: that, and the check that no row was lost. Not here: when a day is committed (`adapters/storage/store.py`).
"""

from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple

import pyarrow as pa

from fraud_retraining.adapters.storage.store import Partition, Store, StoredFile
from fraud_retraining.domain.values.digests import ColumnDigests
from fraud_retraining.domain.values.errors import IntegrityError


class SparkPart(NamedTuple):
    """A table that lies in the store and belongs to no partition yet: its file, its digests, and facts about it."""

    file: StoredFile
    columns: ColumnDigests
    facts: dict[str, Any]


def _no_facts(table: pa.Table) -> dict[str, Any]:
    return {}


def put_part(
    day: date,
    table: pa.Table,
    *,
    store: Store,
    asset: str,
    name: str,
    facts_of: Callable[[pa.Table], dict[str, Any]] = _no_facts,
) -> SparkPart:
    """Write a table of a day; a second attempt of a worker writes the same bytes under the same name."""
    file = store.put(asset, day, {name: table})[name]
    return SparkPart(file, ColumnDigests.of(table), facts_of(table))


def require_all_rows(part: SparkPart, made_of: Partition) -> None:
    """Refuses a table that has another number of rows than the transactions that it was made of.

    Raises:
        IntegrityError: rows are missing or there twice; nothing was committed.
    """
    if part.file.rows != made_of.facts["rows"]:
        raise IntegrityError(
            f"Spark wrote another number of rows than it read of {made_of.day}",
            culprits=[f"{part.file.path}: {part.file.rows:,} rows, of {made_of.facts['rows']:,} transactions"],
            remedy="nothing of it was published; run it again, and report it if it happens again.",
        )
