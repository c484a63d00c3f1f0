"""Which share of the queue's own tasks are rankings, and of how many answers; in projects that exist none is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "a97c3e05d1b4"
down_revision = "d2f7a05c83b1"


def upgrade() -> None:
    op.add_column("projects", sa.Column("ranking_share", sa.Double(), nullable=False, server_default="0"))
    op.add_column("projects", sa.Column("ranking_answers", sa.Integer(), nullable=False, server_default="4"))
