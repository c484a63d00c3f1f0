"""People judge in one evaluation of a project at a time. Where they did in two, one asked for outside of rounds is ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "5b90c3e7d214"
down_revision = "7d2f94a1c3be"
OPEN = sa.text("state = 'open'")


def upgrade() -> None:
    op.execute(
        "UPDATE evaluations SET state = 'cancelled', ended_at = CURRENT_TIMESTAMP WHERE state = 'open' AND EXISTS ("
        "SELECT 1 FROM evaluations AS other WHERE other.project_id = evaluations.project_id AND other.state = 'open' "
        "AND other.id <> evaluations.id AND ((evaluations.round_id IS NULL AND other.round_id IS NOT NULL) "
        "OR ((evaluations.round_id IS NULL) = (other.round_id IS NULL) AND other.id > evaluations.id)))"
    )
    op.create_index("uq_evaluations_open", "evaluations", ["project_id"], unique=True, postgresql_where=OPEN, sqlite_where=OPEN)
