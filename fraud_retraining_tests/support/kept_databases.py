"""Databases that can be put back to how they were, under connections that stay open: SQLite files, and PostgreSQL."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

WRITTEN_COLUMNS = """
SELECT table_name, string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position)
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND is_generated = 'NEVER'
GROUP BY table_name
"""
"""The columns of each table that are not computed by the database."""


class KeptDatabase(Protocol):
    """A database of which one state is kept."""

    def keep(self) -> None:
        """Keeps how it is now."""

    def restore(self) -> None:
        """Puts it back to what was kept."""

    def rows(self, query: str) -> Sequence[tuple[Any, ...]]:
        """The rows of a query that both kinds of database understand."""


def kept_database(url: str) -> KeptDatabase:
    """The database of an SQLAlchemy URL."""
    parts = sa.make_url(url)
    return SqliteFile(Path(str(parts.database))) if parts.drivername.startswith("sqlite") else PostgresSchema(parts)


def copy_database(source: Path, target: Path) -> None:
    """Through SQLite, so that connections which are open see that everything has changed."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


class SqliteFile:
    """A file; the kept one lies beside it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._kept = file.with_name(f"{file.name}.kept")

    def keep(self) -> None:
        copy_database(self.file, self._kept)

    def restore(self) -> None:
        copy_database(self._kept, self.file)

    def rows(self, query: str) -> Sequence[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.file)) as cn:
            return cn.execute(query).fetchall()


class PostgresSchema:
    """The tables of the current schema; kept rows lie in a schema beside it.

    Rows are put back as a superuser of the cluster may: without triggers, which let nobody delete from a ledger.
    """

    def __init__(self, url: sa.URL) -> None:
        driver = url.set(drivername="postgresql+psycopg")
        self._engine = sa.create_engine(driver, poolclass=sa.NullPool)
        self._tables: dict[str, str] = {}

    def keep(self) -> None:
        with self._engine.begin() as cn:
            cn.exec_driver_sql("DROP SCHEMA IF EXISTS kept CASCADE")
            cn.exec_driver_sql("CREATE SCHEMA kept")
            self._tables = {str(table): str(columns) for table, columns in cn.execute(sa.text(WRITTEN_COLUMNS))}
            for table, columns in self._tables.items():
                cn.exec_driver_sql(f'CREATE TABLE kept."{table}" AS SELECT {columns} FROM "{table}"')

    def restore(self) -> None:
        with self._engine.begin() as cn:
            # Work that was killed has to have let go of what it had locked.
            cn.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
            cn.exec_driver_sql("SET LOCAL session_replication_role = replica")
            statements = [
                f'DELETE FROM "{table}"; '
                f'INSERT INTO "{table}" ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM kept."{table}"'
                for table, columns in self._tables.items()
            ]
            cn.exec_driver_sql("; ".join(statements))

    def rows(self, query: str) -> Sequence[tuple[Any, ...]]:
        with self._engine.begin() as cn:
            return [tuple(row) for row in cn.execute(sa.text(query))]
