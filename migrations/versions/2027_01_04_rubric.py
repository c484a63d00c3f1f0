"""A project's rubric, questions of yes or no about each answer, and what labels say of them."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "e5b8203d61fa"
down_revision = "a97c3e05d1b4"


def upgrade() -> None:
    op.add_column("projects", sa.Column("rubric", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("labels", sa.Column("rubric", sa.JSON(none_as_null=True), nullable=True))
    connection = op.get_bind()
    for project_id, retired in connection.execute(sa.text("SELECT id, retired FROM projects")).all():
        known = json.loads(retired) if isinstance(retired, str) else retired
        connection.execute(
            sa.text("UPDATE projects SET retired = :retired WHERE id = :id").bindparams(
                sa.bindparam("retired", type_=sa.JSON()), id=project_id
            ),
            {"retired": {**known, "rubric": []}},
        )
