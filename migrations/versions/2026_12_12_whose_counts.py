"""A project says by which base model its prompts were counted, so that another one makes the counts void at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0b7e3f52c9d4"
down_revision = "f40d7c18b2a6"


def upgrade() -> None:
    op.add_column("projects", sa.Column("counts_of", sa.Text(), nullable=True))
    op.execute("UPDATE projects SET counts_of = base_model")
