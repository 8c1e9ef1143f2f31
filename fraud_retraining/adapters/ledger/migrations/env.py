"""Alembic's way into a transaction that is already open: the caller holds the lock and commits."""

from alembic import context

from fraud_retraining.adapters.ledger.migrations import VERSION_TABLE

# a table name of its own: MLflow and Dagster keep an `alembic_version` in a shared database
context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
