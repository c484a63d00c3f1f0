"""Labels of a project by the moment they were given, so that a month's are counted without reading all that came before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "91c4b7d2e0a6"
down_revision = "a94c1e07d652"


def upgrade() -> None:
    first = sa.text("version = 1")
    op.create_index("ix_labels_first", "labels", ["project_id", "created_at"], postgresql_where=first, sqlite_where=first)
