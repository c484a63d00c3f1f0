"""How long a project keeps weights that nothing refers to, and when those of a checkpoint went; so far all are kept for ever."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3c8f1d70ab52"
down_revision = "f27b90c3d18e"


def upgrade() -> None:
    op.add_column("projects", sa.Column("keep_days", sa.Integer(), nullable=True))
    op.add_column("checkpoints", sa.Column("pruned_at", sa.DateTime(timezone=True), nullable=True))
