"""A prompt has a sketch, by which an earlier one is found that says nearly the same. The next import looks at what there is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "c41e8b6f05d7"
down_revision = "e5b8203d61fa"


def upgrade() -> None:
    op.add_column("prompts", sa.Column("sketch", sa.LargeBinary(), nullable=True))
    op.add_column("prompts", sa.Column("twin_id", sa.Integer(), nullable=True))
    where = sa.text("twin_id IS NOT NULL")
    op.create_index("ix_prompts_twin_id", "prompts", ["project_id", "twin_id"], postgresql_where=where, sqlite_where=where)
