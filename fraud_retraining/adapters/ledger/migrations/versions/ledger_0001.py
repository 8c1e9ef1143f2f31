"""The chain of events, its head, and one current row a release.

There is no way down: a record that can be dropped by a command is no record.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
APPEND_ONLY = "audit_events is append-only"
KEPT = "a release is never deleted"


def upgrade() -> None:
    """Create the three tables, then what keeps them from being rewritten."""
    _create_events()
    _create_head()
    _create_releases()
    statements = SQLITE_GUARDS if op.get_bind().dialect.name == "sqlite" else POSTGRESQL_GUARDS
    for statement in statements:
        op.execute(sa.text(statement))


def _create_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("seq", SEQ, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("subject", sa.Text),
        sa.Column("as_of", sa.Text),
        sa.Column("version", sa.Integer),
        sa.Column("fingerprint", sa.Text),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("txn", sa.Text, nullable=False),
        sa.Column("prev_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    for columns in (["model", "kind", "seq"], ["version"], ["fingerprint"], ["as_of"], ["txn"]):
        op.create_index(f"audit_events_by_{columns[0] if len(columns) == 1 else 'kind'}", "audit_events", columns)


def _create_head() -> None:
    op.create_table(
        "ledger_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", SEQ, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.CheckConstraint("id = 1", name="ledger_head_one_row"),
    )
    op.execute(sa.text(f"INSERT INTO ledger_head (id, seq, hash) VALUES (1, 0, '{'0' * 64}')"))


def _create_releases() -> None:
    required = (
        "fingerprint",
        "as_of",
        "trigger",
        "state",
        "artifact_digest",
        "verdict_digest",
        "requested_by",
        "reason",
        "opened_at",
        "moved_at",
        "moved_by",
    )
    optional = ("deadline", "decided_by", "decided_via", "decided_at", "promoted_at")
    op.create_table(
        "releases",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in required),
        *(sa.Column(name, sa.Text) for name in optional),
        sa.Column("verdict_passed", sa.Boolean, nullable=False),
        sa.Column("champion_before", sa.Integer),
        sa.Column("intent", SEQ),
        sa.UniqueConstraint("model", "fingerprint", name="releases_one_per_fingerprint"),
    )
    op.create_index("releases_by_state", "releases", ["model", "state"])
    for state in ("promoted", "promoting"):
        condition = sa.text(f"state = '{state}'")
        op.create_index(
            f"releases_one_{state}",
            "releases",
            ["model"],
            unique=True,
            sqlite_where=condition,
            postgresql_where=condition,
        )


# the insert guard also stops INSERT OR REPLACE, which deletes without firing a delete trigger
SQLITE_GUARDS = (
    f"""CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    f"""CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    f"""CREATE TRIGGER audit_events_in_order BEFORE INSERT ON audit_events
        WHEN NEW.seq <> (SELECT COALESCE(MAX(seq), 0) + 1 FROM audit_events)
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    f"""CREATE TRIGGER releases_no_delete BEFORE DELETE ON releases
        BEGIN SELECT RAISE(ABORT, '{KEPT}'); END""",
)

POSTGRESQL_GUARDS = (
    f"""CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{APPEND_ONLY}'; END $$""",
    f"""CREATE FUNCTION releases_refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{KEPT}'; END $$""",
    """CREATE TRIGGER audit_events_no_update BEFORE UPDATE OR DELETE ON audit_events
        FOR EACH ROW EXECUTE FUNCTION audit_events_refuse()""",
    """CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events
        FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()""",
    """CREATE TRIGGER releases_no_delete BEFORE DELETE ON releases
        FOR EACH ROW EXECUTE FUNCTION releases_refuse()""",
    """CREATE TRIGGER releases_no_truncate BEFORE TRUNCATE ON releases
        FOR EACH STATEMENT EXECUTE FUNCTION releases_refuse()""",
)
