"""Who retrains now, which notices were sent, and which messages still have to be sent.

Rows of these tables are working state: they are updated, and what must be remembered of them is in the chain of events.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create leases, notices, deliveries and used links; a second approver for releases."""
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("token", ID, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("owner", "detail", "taken_at", "seen_at", "expires_at")
        ),
    )
    _create_notices()
    _create_deliveries()
    op.create_table(
        "used_links",
        sa.Column("nonce", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("used_at", "used_by")),
    )
    op.add_column("releases", sa.Column("first_approval_by", sa.Text))


def _create_notices() -> None:
    op.create_table(
        "notices",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("model", "dedup_key", "category", "severity", "notice")
        ),
        sa.Column("seen", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("opened_at", "seen_at")),
        sa.Column("resolved_at", sa.Text),
    )
    still_open = sa.text("resolved_at IS NULL")
    op.create_index(
        "notices_one_open",
        "notices",
        ["model", "dedup_key"],
        unique=True,
        sqlite_where=still_open,
        postgresql_where=still_open,
    )


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("notice_id", ID, sa.ForeignKey("notices.id"), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("destination", "action", "message")),
        sa.Column("attempts", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("created_at", "due_at")),
        *(sa.Column(name, sa.Text) for name in ("claimed_until", "delivered_at", "given_up_at", "receipt", "error")),
    )
    op.create_index("deliveries_by_notice", "deliveries", ["notice_id", "id"])
    op.create_index("deliveries_due", "deliveries", ["delivered_at", "given_up_at", "due_at"])
