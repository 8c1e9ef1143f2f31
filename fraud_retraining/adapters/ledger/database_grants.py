"""What the application's own role may do in the ledger's PostgreSQL: add to the record, never change it.

Here: the grants as SQL, and carrying them out. Not here: creating the role and its password, which is for the
database's operator. The guards of `append_only_triggers.py` stop every role but the owner of the tables; a role
that does not own them, and has only these grants, cannot take the guards away either.
"""

from typing import TYPE_CHECKING

from fraud_retraining.adapters.ledger import migrations
from fraud_retraining.adapters.ledger.event_log import EventLog, tables
from fraud_retraining.domain.values.errors import SettingsError

if TYPE_CHECKING:
    import sqlalchemy as sa

RECORD = {
    "audit_events": "SELECT, INSERT",
    "ledger_head": "SELECT, UPDATE (seq, hash)",
    "releases": "SELECT, INSERT, UPDATE",
    migrations.VERSION_TABLE: "SELECT",
}
OTHERS = "SELECT, INSERT, UPDATE, DELETE"
FORBIDDEN = {"audit_events": ("UPDATE", "DELETE", "TRUNCATE"), "releases": ("DELETE", "TRUNCATE")}


class OwnedLedger(EventLog):
    """A ledger in PostgreSQL, as the owner of its tables sees it."""

    def grants(self, role: str) -> list[str]:
        """The statements that give `role` what the application needs, and take everything else."""
        return self._database.read(lambda cn: _statements(cn, role))

    def grant(self, role: str) -> list[str]:
        """Carries them out, and looks whether they hold.

        Raises:
            SettingsError: no such role, or one that may change the record with any grants: it owns the tables.
        """

        def work(cn: "sa.Connection") -> list[str]:
            statements = _statements(cn, role)
            for statement in statements:
                cn.exec_driver_sql(statement)
            _require_insert_only(cn, role)
            return statements

        return self._database.write(lambda tx: work(tx.connection))


def _statements(cn: "sa.Connection", role: str) -> list[str]:
    _require_role(cn, role)
    quote = cn.dialect.identifier_preparer.quote_identifier
    schema = quote(cn.exec_driver_sql("SELECT current_schema()").scalar_one())
    to = quote(role)
    allowed = dict.fromkeys(sorted(tables().METADATA.tables), OTHERS) | RECORD
    rights = [f"GRANT {right} ON {schema}.{quote(name)} TO {to}" for name, right in allowed.items()]
    taken = [f"REVOKE ALL ON {schema}.{quote(name)} FROM PUBLIC, {to}" for name in allowed]
    return [
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {to}",
        f"GRANT USAGE ON SCHEMA {schema} TO {to}",
        # Taken before given, so that a role which was given more by hand keeps nothing of it.
        *taken,
        *rights,
        *(f"GRANT USAGE ON SEQUENCE {name} TO {to}" for name in _sequences(cn)),
    ]


def _sequences(cn: "sa.Connection") -> list[str]:
    """What numbers the rows of the tables that number themselves."""
    query = "SELECT pg_get_serial_sequence(%s, %s)"
    columns = [(name, column.name) for name, table in tables().METADATA.tables.items() for column in table.primary_key]
    found = [cn.exec_driver_sql(query, column).scalar_one() for column in columns]
    return sorted(name for name in found if name is not None)


def _require_role(cn: "sa.Connection", role: str) -> None:
    if cn.dialect.name != "postgresql":
        raise SettingsError(
            "only PostgreSQL knows roles; the ledger is a SQLite file",
            remedy="Protect the file by its owner and mode, and export heads.",
        )
    if cn.exec_driver_sql("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).first() is None:
        raise SettingsError(f"there is no role {role}", remedy="Create it: CREATE ROLE ... LOGIN PASSWORD ...")


def _require_insert_only(cn: "sa.Connection", role: str) -> None:
    query = "SELECT has_table_privilege(%s, %s, %s)"
    kept = [
        f"{right} on {table}"
        for table, rights in FORBIDDEN.items()
        for right in rights
        if cn.exec_driver_sql(query, (role, table, right)).scalar_one()
    ]
    if kept:
        raise SettingsError(
            f"role {role} can change the record whatever is granted: it owns the tables, or inherits from who does",
            culprits=kept,
            remedy="Let the application connect as another role than the owner of the tables.",
        )
