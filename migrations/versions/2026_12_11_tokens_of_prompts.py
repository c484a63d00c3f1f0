"""A prompt says how many tokens the base model reads of it, so that what a setting leaves out is counted before it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "f40d7c18b2a6"
down_revision = "e27b94d6a1c5"


def upgrade() -> None:
    op.add_column("prompts", sa.Column("tokens", sa.Integer(), nullable=True))
    op.drop_index("ix_prompts_project_id_split", "prompts")
    op.create_index("ix_prompts_project_id_split", "prompts", ["project_id", "split", "archived_at", "id", "tokens"])
    op.create_index(
        "ix_prompts_uncounted",
        "prompts",
        ["project_id", "id"],
        postgresql_where=sa.text("tokens IS NULL"),
        sqlite_where=sa.text("tokens IS NULL"),
    )
