"""A task says whether people disagree about it, so that the labels of such tasks are found by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "e27b94d6a1c5"
down_revision = "c81f5a20d7e3"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("disputed", sa.Boolean(), nullable=False, server_default=sa.false()))
    said = (
        "CASE labels.choice WHEN 'left' THEN left_generation_id WHEN 'right' THEN right_generation_id"
        " WHEN 'tie' THEN -1 WHEN 'both_bad' THEN -2 ELSE overall END"
    )
    different = f"SELECT task_id FROM labels WHERE labels.current GROUP BY task_id HAVING count(DISTINCT {said}) > 1"
    op.execute(f"UPDATE tasks SET disputed = true WHERE id IN ({different})")
    op.create_index(
        "ix_tasks_disputed",
        "tasks",
        ["project_id", "id"],
        postgresql_where=sa.text("disputed"),
        sqlite_where=sa.text("disputed = 1"),
    )
