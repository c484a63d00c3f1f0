"""A label says whether a reward model may learn from it, so that those are counted by an index alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "f6c20a9b47d1"
down_revision = "c93f5a61d8e2"


def upgrade() -> None:
    op.add_column("labels", sa.Column("trains", sa.Boolean(), nullable=False, server_default=sa.true()))
    others = (
        "SELECT tasks.id FROM tasks JOIN prompts ON prompts.id = tasks.prompt_id"
        " WHERE tasks.purpose <> 'train' OR prompts.split <> 'train'"
    )
    op.execute(f"UPDATE labels SET trains = false WHERE task_id IN ({others})")
    op.create_index("ix_labels_usable", "labels", ["project_id", "current", "surplus", "trains"])
