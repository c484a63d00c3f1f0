"""What else the owner of a prompt said of it, kept and given back in exports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "b7e2a90d4c15"
down_revision = "5d0f3b7a9c12"


def upgrade() -> None:
    with op.batch_alter_table("prompts") as batch_op:
        batch_op.add_column(sa.Column("extra", sa.JSON(), nullable=False, server_default="{}"))
