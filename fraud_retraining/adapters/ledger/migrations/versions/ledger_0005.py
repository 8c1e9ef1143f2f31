"""Who signed a row of the chain, and the signature over its hash.

Rows of before have neither; where the settings name signers, the event `signing_began` says up to which row that holds.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two optional columns of events."""
    for name in ("signer", "signature"):
        op.add_column("audit_events", sa.Column(name, sa.Text))
