"""Alarms: the score rose, and people did not agree. And why a policy was promoted; nobody was asked for that before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "c7d51f0e8a36"
down_revision = "93e0a4d7c15b"


def upgrade() -> None:
    op.add_column("evaluation_candidates", sa.Column("alarm", sa.Text(), nullable=False, server_default=""))
    op.add_column("checkpoints", sa.Column("promotion_reason", sa.Text(), nullable=False, server_default=""))
