"""Changes to the record by an attacker with the database's password."""

import sqlite3
from contextlib import closing

import sqlalchemy as sa

from fraud_retraining.adapters.ledger.append_only_triggers import TABLES
from fraud_retraining.adapters.ledger.engines import driver_url
from fraud_retraining.domain.ledger.hash_chain import Row
from fraud_retraining_tests.support.ledgers import sqlite_path


def run_sql(url: str, *statements: str) -> None:
    """Statements in one transaction, past the ledger."""
    engine = sa.create_engine(driver_url(url))
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))
    finally:
        engine.dispose()


def lift_guards(url: str) -> None:
    """Takes the guards away, as the owner of the database can."""
    if not url.startswith("sqlite"):
        run_sql(url, *(f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in TABLES))
        return
    with closing(sqlite3.connect(sqlite_path(url))) as raw:
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            raw.execute(f"DROP TRIGGER {name}")
        raw.commit()


def tamper(url: str, *statements: str) -> None:
    """Statements with the guards out of the way."""
    lift_guards(url)
    run_sql(url, *statements)


def put_back(url: str, rows: list[Row]) -> None:
    """Makes the chain what it was, so that the next change is the only one."""
    engine = sa.create_engine(driver_url(url))
    names = ", ".join(Row._fields)
    holes = ", ".join(f":{name}" for name in Row._fields)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM audit_events"))
        connection.execute(sa.text(f"INSERT INTO audit_events ({names}) VALUES ({holes})"), [r._asdict() for r in rows])
        head = {"seq": rows[-1].seq, "hash": rows[-1].hash}
        connection.execute(sa.text("UPDATE ledger_head SET seq = :seq, hash = :hash"), head)
    engine.dispose()
