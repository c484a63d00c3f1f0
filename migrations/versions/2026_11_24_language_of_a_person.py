"""The language a person chose to read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "5c1d20e7b9a4"
down_revision = "3b1f0c7a9d52"


def upgrade() -> None:
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.add_column(sa.Column("language", sa.String(length=20), nullable=True))
