"""A verdict can be withdrawn: a version that says so, of which none is in force."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "a41c9e7d2b60"
down_revision = "8e42d6f1c3b7"


def upgrade() -> None:
    with op.batch_alter_table("labels") as batch_op:
        batch_op.add_column(sa.Column("withdrawn", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.create_check_constraint(op.f("ck_labels_withdrawn_is_not_current"), "NOT (withdrawn AND current)")
