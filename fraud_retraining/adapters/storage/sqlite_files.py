"""SQLite files that are looked at and left as they are.

Not here: databases that are worked with (`adapters/ledger/engines.py`, Dagster's and MLflow's own stores).
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from fraud_retraining.domain.values.errors import DependencyUnreachable

BUSY_SECONDS = 5


def first_value(file: Path, query: str) -> str | None:
    """The first value that a query gives; None where it gives no row, or its table is missing.

    Raises:
        DependencyUnreachable: the file cannot be read, or is no sound database.
    """
    # Opening a database in WAL mode makes the files of its log, unless it is said not to change.
    logged = file.with_name(f"{file.name}-wal").exists()
    address = f"{file.absolute().as_uri()}?mode=ro{'' if logged else '&immutable=1'}"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as connection:
            row = connection.execute(query).fetchone()
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):
            return None
        raise DependencyUnreachable(
            f"{file} cannot be read: {error}",
            remedy="look at its permissions and its disk; restore it from a backup where it is damaged.",
        ) from error
    return None if row is None else str(row[0])
