"""Lists of a million prompts are read in the order they are shown in, and prompts are found by their owner's id."""

from __future__ import annotations

from alembic import op

revision = "c93f5a61d8e2"
down_revision = "e1b64c7f5a38"


def upgrade() -> None:
    op.drop_index("ix_prompts_project_id_split", "prompts")
    op.create_index("ix_prompts_project_id_split", "prompts", ["project_id", "split", "archived_at", "id"])
    op.create_index("ix_prompts_project_id_archived_at", "prompts", ["project_id", "archived_at", "id"])
    op.create_index("ix_prompts_project_id_external_id", "prompts", ["project_id", "external_id", "archived_at", "id"])
