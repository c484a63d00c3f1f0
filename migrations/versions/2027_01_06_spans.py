"""The reasons for which a project has passages of answers marked, and what labels have marked."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "7d2f94a1c3be"
down_revision = "c41e8b6f05d7"


def upgrade() -> None:
    op.add_column("projects", sa.Column("span_reasons", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("labels", sa.Column("spans", sa.JSON(none_as_null=True), nullable=True))
    connection = op.get_bind()
    for project_id, retired in connection.execute(sa.text("SELECT id, retired FROM projects")).all():
        known = json.loads(retired) if isinstance(retired, str) else retired
        connection.execute(
            sa.text("UPDATE projects SET retired = :retired WHERE id = :id").bindparams(
                sa.bindparam("retired", type_=sa.JSON()), id=project_id
            ),
            {"retired": {**known, "span_reasons": []}},
        )
