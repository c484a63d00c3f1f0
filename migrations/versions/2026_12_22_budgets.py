"""A pause of rounds that start by themselves, and what a project may use up in a month; projects that exist have neither."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "d80a6f3e1b57"
down_revision = "5b2e90c4d718"


def upgrade() -> None:
    op.add_column("projects", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("projects", sa.Column("month_labels", sa.Integer(), nullable=True))
    op.add_column("projects", sa.Column("month_evaluation_labels", sa.Integer(), nullable=True))
    op.add_column("projects", sa.Column("month_hours", sa.Double(), nullable=True))
