"""The browser a session was opened in, so that one somebody has signed in with is no stranger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "d7a05e93c1f4"
down_revision = "c4f81d6b2e09"


def upgrade() -> None:
    with op.batch_alter_table("sessions") as batch_op:
        batch_op.add_column(sa.Column("device_hash", sa.String(length=64), nullable=True))
        batch_op.create_index(op.f("ix_sessions_device_hash"), ["device_hash"])
