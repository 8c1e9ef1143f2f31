"""The ledger's schema, one revision after the other, applied by `adapters/ledger/database.py` on first use.

Here: the Alembic environment and its revisions. Not here: queries. `HEAD` is kept beside the revisions so that a ledger
that is up to date is recognised without importing Alembic.

Public: `HEAD`, `VERSION_TABLE`.
"""

HEAD = "0005"
VERSION_TABLE = "ledger_version"
