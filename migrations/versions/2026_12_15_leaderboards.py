"""What was counted of a project's labels for its leaderboard. Nothing is, until a worker or a page counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "a4d7f10c2b96"
down_revision = "5d19c6b0e8f3"


def upgrade() -> None:
    op.create_table(
        "leaderboards",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("label_id", sa.Integer(), nullable=False),
        sa.Column("counts", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], "fk_leaderboards_project_id", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="pk_leaderboards"),
        sa.UniqueConstraint("project_id", name="uq_leaderboards_project_id"),
    )
