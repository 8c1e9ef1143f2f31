"""The tables of the ledger's database.

Here: tables and their columns as SQLAlchemy has them. Not here: the SQL that makes them (`adapters/ledger/migrations`),
and reading rows (`adapters/ledger/statements.py`). Importing this module imports SQLAlchemy, which is slow.
"""

import sqlalchemy as sa

METADATA = sa.MetaData()
SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

EVENTS = sa.Table(
    "audit_events",
    METADATA,
    sa.Column("seq", SEQ, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("at", "model", "kind", "actor", "channel")),
    *(sa.Column(name, sa.Text) for name in ("subject", "as_of")),
    sa.Column("version", sa.Integer),
    sa.Column("fingerprint", sa.Text),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("payload", "txn", "prev_hash", "hash")),
    *(sa.Column(name, sa.Text) for name in ("signer", "signature")),
)
HEAD = sa.Table(
    "ledger_head",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", SEQ, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
RELEASES = sa.Table(
    "releases",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    *(
        sa.Column(name, sa.Text, nullable=False)
        for name in (
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
    ),
    *(
        sa.Column(name, sa.Text)
        for name in (
            "deadline",
            "first_approval_by",
            "decided_by",
            "decided_via",
            "decided_at",
            "promoted_at",
            "needs_human",
            "floors_missed",
        )
    ),
    sa.Column("verdict_passed", sa.Boolean, nullable=False),
    sa.Column("champion_before", sa.Integer),
    sa.Column("intent", SEQ),
)
LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("token", SEQ, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("owner", "detail", "taken_at", "seen_at", "expires_at")),
)
NOTICES = sa.Table(
    "notices",
    METADATA,
    sa.Column("id", SEQ, primary_key=True),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("model", "dedup_key", "category", "severity", "notice")),
    sa.Column("seen", sa.Integer, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("opened_at", "seen_at")),
    sa.Column("resolved_at", sa.Text),
)
DELIVERIES = sa.Table(
    "deliveries",
    METADATA,
    sa.Column("id", SEQ, primary_key=True),
    sa.Column("notice_id", SEQ, sa.ForeignKey("notices.id"), nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("destination", "action", "message")),
    sa.Column("attempts", sa.Integer, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("created_at", "due_at")),
    *(sa.Column(name, sa.Text) for name in ("claimed_until", "delivered_at", "given_up_at", "receipt", "error")),
)
USED_LINKS = sa.Table(
    "used_links",
    METADATA,
    sa.Column("nonce", sa.Text, primary_key=True),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("used_at", "used_by")),
)
