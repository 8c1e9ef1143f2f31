"""Why a human has to decide about a release whatever the promotion mode says, and which floors they may except.

Releases of before have neither: their mode decided.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two optional columns of releases."""
    for name in ("needs_human", "floors_missed"):
        op.add_column("releases", sa.Column(name, sa.Text))
