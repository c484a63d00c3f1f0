"""Languages and skills of people, language, tags and skills of prompts. What there is goes to everybody, as before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "d2f7a05c83b1"
down_revision = "6e1b94d27fc8"


def upgrade() -> None:
    for table, names in (("memberships", ("languages", "skills")), ("prompts", ("tags", "skills"))):
        for name in names:
            op.add_column(table, sa.Column(name, sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("prompts", sa.Column("language", sa.String(length=35), nullable=True))
    op.add_column("prompts", sa.Column("audience", sa.String(length=500), nullable=True))
    where = sa.text("audience IS NOT NULL")
    op.create_index("ix_prompts_audience", "prompts", ["project_id", "audience"], postgresql_where=where, sqlite_where=where)
    op.add_column("projects", sa.Column("audiences", sa.JSON(none_as_null=True), nullable=True))
