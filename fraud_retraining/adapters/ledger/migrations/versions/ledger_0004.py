"""Guards that also hold the head, the order and the previous hash, so that nobody appends out of turn.

Every guard is put up anew in its present form: `audit verify` compares the database's with it.
"""

from alembic import op

from fraud_retraining.adapters.ledger.append_only_triggers import install

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Put up the guards."""
    install(op.get_bind())
