"""Triggers that keep the record append-only inside its database, and whether they are still there as installed.

Here: the triggers of SQLite and PostgreSQL as statements, installing them, and comparing what the database has with
them: tables that are tables, triggers with their whole definition, switched on. Not here: who may do what
(`adapters/ledger/database_grants.py`) and whether the rows are what was written (`adapters/ledger/verification.py`).

A later change of a guard needs a migration that calls `install` again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from fraud_retraining.domain.ledger.hash_chain import NO_HASH

if TYPE_CHECKING:
    import sqlalchemy as sa

EVENTS, HEAD, RELEASES = "audit_events", "ledger_head", "releases"
TABLES = (EVENTS, HEAD, RELEASES)
APPEND_ONLY = "audit_events is append-only"
KEPT = "a release is never deleted"
FOLLOWS = "ledger_head is the last row of audit_events"
UNIQUE = ("releases_one_promoted", "releases_one_promoting", "releases_one_per_fingerprint")

# the insert guard also stops INSERT OR REPLACE, which deletes without firing a delete trigger
SQLITE = {
    "audit_events_no_update": f"""CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    "audit_events_no_delete": f"""CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    "audit_events_in_order": f"""CREATE TRIGGER audit_events_in_order BEFORE INSERT ON audit_events
        WHEN NEW.seq <> (SELECT COALESCE(MAX(seq), 0) + 1 FROM audit_events)
        OR NEW.prev_hash <> COALESCE((SELECT hash FROM audit_events ORDER BY seq DESC LIMIT 1), '{NO_HASH}')
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    "ledger_head_follows": f"""CREATE TRIGGER ledger_head_follows BEFORE UPDATE ON ledger_head
        WHEN NEW.seq <> (SELECT COALESCE(MAX(seq), 0) FROM audit_events)
        OR NEW.hash <> COALESCE((SELECT hash FROM audit_events ORDER BY seq DESC LIMIT 1), '{NO_HASH}')
        BEGIN SELECT RAISE(ABORT, '{FOLLOWS}'); END""",
    "ledger_head_no_delete": f"""CREATE TRIGGER ledger_head_no_delete BEFORE DELETE ON ledger_head
        BEGIN SELECT RAISE(ABORT, '{FOLLOWS}'); END""",
    "releases_no_delete": f"""CREATE TRIGGER releases_no_delete BEFORE DELETE ON releases
        BEGIN SELECT RAISE(ABORT, '{KEPT}'); END""",
}


class Guard(NamedTuple):
    """A trigger of PostgreSQL: `kind` is its `tgtype`."""

    table: str
    kind: int
    when: str
    function: str


ROW, BEFORE, INSERT, DELETE, UPDATE, TRUNCATE = 1, 2, 4, 8, 16, 32
# the schema is named, because a role may have a temporary table of the same name, which is found first
_LAST = "'SELECT seq, hash FROM ' || quote_ident(TG_TABLE_SCHEMA) || '.audit_events ORDER BY seq DESC LIMIT 1'"
FUNCTIONS = {
    "audit_events_refuse": f" BEGIN RAISE EXCEPTION '{APPEND_ONLY}'; END ",
    "releases_refuse": f" BEGIN RAISE EXCEPTION '{KEPT}'; END ",
    "ledger_head_refuse": f" BEGIN RAISE EXCEPTION '{FOLLOWS}'; END ",
    "audit_events_append": f""" DECLARE last_seq bigint; last_hash text;
        BEGIN
          EXECUTE {_LAST} INTO last_seq, last_hash;
          IF NEW.seq IS DISTINCT FROM COALESCE(last_seq, 0) + 1
             OR NEW.prev_hash IS DISTINCT FROM COALESCE(last_hash, '{NO_HASH}') THEN
            RAISE EXCEPTION '{APPEND_ONLY}';
          END IF;
          RETURN NEW;
        END """,
    "ledger_head_follow": f""" DECLARE last_seq bigint; last_hash text;
        BEGIN
          EXECUTE {_LAST} INTO last_seq, last_hash;
          IF NEW.seq IS DISTINCT FROM COALESCE(last_seq, 0)
             OR NEW.hash IS DISTINCT FROM COALESCE(last_hash, '{NO_HASH}') THEN
            RAISE EXCEPTION '{FOLLOWS}';
          END IF;
          RETURN NEW;
        END """,
}
POSTGRESQL = {
    "audit_events_no_update": Guard(
        EVENTS, ROW | BEFORE | DELETE | UPDATE, "BEFORE UPDATE OR DELETE", "audit_events_refuse"
    ),
    "audit_events_no_truncate": Guard(EVENTS, BEFORE | TRUNCATE, "BEFORE TRUNCATE", "audit_events_refuse"),
    "audit_events_in_order": Guard(EVENTS, ROW | BEFORE | INSERT, "BEFORE INSERT", "audit_events_append"),
    "ledger_head_follows": Guard(HEAD, ROW | BEFORE | UPDATE, "BEFORE UPDATE", "ledger_head_follow"),
    "ledger_head_no_delete": Guard(HEAD, ROW | BEFORE | DELETE, "BEFORE DELETE", "ledger_head_refuse"),
    "ledger_head_no_truncate": Guard(HEAD, BEFORE | TRUNCATE, "BEFORE TRUNCATE", "ledger_head_refuse"),
    "releases_no_delete": Guard(RELEASES, ROW | BEFORE | DELETE, "BEFORE DELETE", "releases_refuse"),
    "releases_no_truncate": Guard(RELEASES, BEFORE | TRUNCATE, "BEFORE TRUNCATE", "releases_refuse"),
}


def install(cn: "sa.Connection") -> None:
    """Put every guard in its place, in its present form, in place of what was there."""
    for statement in _sqlite_statements() if cn.dialect.name == "sqlite" else _postgresql_statements():
        cn.exec_driver_sql(statement)


def _sqlite_statements() -> Iterator[str]:
    for name, made_by in SQLITE.items():
        yield f"DROP TRIGGER IF EXISTS {name}"
        yield made_by


def _postgresql_statements() -> Iterator[str]:
    for name, body in FUNCTIONS.items():
        yield f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$"
    for name, guard in POSTGRESQL.items():
        each = "ROW" if guard.kind & ROW else "STATEMENT"
        yield f"DROP TRIGGER IF EXISTS {name} ON {guard.table}"
        yield f"CREATE TRIGGER {name} {guard.when} ON {guard.table} FOR EACH {each} EXECUTE FUNCTION {guard.function}()"


@contextmanager
def suspended(cn: "sa.Connection", name: str) -> Iterator[None]:
    """Suspend one guard while this is open, in the transaction alone; only the owner of the tables can."""
    if cn.dialect.name == "sqlite":
        down, up = f"DROP TRIGGER {name}", SQLITE[name]
    else:
        table = POSTGRESQL[name].table
        down, up = f"ALTER TABLE {table} DISABLE TRIGGER {name}", f"ALTER TABLE {table} ENABLE TRIGGER {name}"
    cn.exec_driver_sql(down)
    yield
    # Not in a `finally`: after an error the transaction is rolled back, and the guard is there again.
    cn.exec_driver_sql(up)


def missing_tables(cn: "sa.Connection") -> list[str]:
    """Tables of the record that are not there, or are no tables, each as a clause."""
    kinds = _sqlite_kinds(cn) if cn.dialect.name == "sqlite" else _postgresql_kinds(cn)
    return [f"{name} is {kinds.get(name, 'not there')}" for name in TABLES if kinds.get(name) != "table"]


def guard_problems(cn: "sa.Connection") -> list[str]:
    """Guards that are missing, switched off or not what was installed, and what was added to them, each as a clause."""
    found = _sqlite_problems(cn) if cn.dialect.name == "sqlite" else _postgresql_problems(cn)
    return [*found, *_indexes(cn)]


def _plain(statement: str) -> str:
    return " ".join(statement.split())


# ------------------------------------------------------------ SQLite


def _sqlite_kinds(cn: "sa.Connection") -> dict[str, str]:
    found = cn.exec_driver_sql("SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view')")
    return {name: kind if kind == "table" else f"a {kind}, no table" for name, kind in found}


def _sqlite_problems(cn: "sa.Connection") -> Iterator[str]:
    found = cn.exec_driver_sql("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'")
    there = {name: (table, made_by) for name, table, made_by in found}
    for name, made_by in SQLITE.items():
        if name not in there:
            yield f"the guard {name} is missing"
        elif _plain(there[name][1]) != _plain(made_by):
            yield f"the guard {name} was altered"
    for name, (table, _) in sorted(there.items()):
        if name not in SQLITE and table in TABLES:
            yield f"the trigger {name} on {table} is none of this software's"


# ------------------------------------------------------------ PostgreSQL

_OURS = "c.relnamespace = current_schema()::regnamespace AND c.relname IN ('audit_events', 'ledger_head', 'releases')"
_KINDS = f"SELECT c.relname, c.relkind::text, c.relrowsecurity, c.relhasrules FROM pg_class c WHERE {_OURS}"
# A WHEN clause, a list of columns, or a function of the same name in another schema leaves the body as it was.
_TRIGGERS = f"""SELECT t.tgname, c.relname, t.tgtype::int, t.tgenabled::text, p.proname, p.prosrc,
    t.tgqual IS NOT NULL OR array_length(t.tgattr, 1) > 0, p.pronamespace = c.relnamespace
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE NOT t.tgisinternal AND {_OURS}"""


def _postgresql_kinds(cn: "sa.Connection") -> dict[str, str]:
    kinds = {}
    for name, kind, by_row, rules in cn.exec_driver_sql(_KINDS):
        # A rule or row-level security can turn a write into nothing, without an error.
        plain_table = kind in "rp" and not by_row and not rules
        kinds[name] = "table" if plain_table else "no plain table: a view, or with rules or row-level security on it"
    return kinds


def _postgresql_problems(cn: "sa.Connection") -> Iterator[str]:
    there = {row[0]: tuple(row[1:]) for row in cn.exec_driver_sql(_TRIGGERS)}
    for name, guard in POSTGRESQL.items():
        if name not in there:
            yield f"the guard {name} is missing"
            continue
        table, kind, enabled, function, body, narrowed, at_home = there[name]
        # O and A fire in ordinary sessions; R fires on replicas only, D never.
        if enabled not in ("O", "A"):
            yield f"the guard {name} is switched off"
        same = (table, kind, function, _plain(body)) == (
            guard.table,
            guard.kind,
            guard.function,
            _plain(FUNCTIONS[guard.function]),
        )
        if not same or narrowed or not at_home:
            yield f"the guard {name} was altered"
    for name in sorted(there.keys() - POSTGRESQL.keys()):
        yield f"the trigger {name} on {there[name][0]} is none of this software's"


def _indexes(cn: "sa.Connection") -> Iterator[str]:
    """Unique indexes that are not there: they let one release a fingerprint be, and one champion a model."""
    import sqlalchemy as sa

    inspector = sa.inspect(cn)
    unique = {index["name"] for index in inspector.get_indexes(RELEASES) if index["unique"]}
    unique |= {constraint["name"] for constraint in inspector.get_unique_constraints(RELEASES)}
    yield from (f"the unique index {name} is missing" for name in UNIQUE if name not in unique)
