"""What a reward foretells of prompts that an evaluation never asks about is kept, before the first verdict."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "e81d5f20c6a9"
down_revision = "5b90c3e7d214"


def upgrade() -> None:
    op.add_column("evaluation_candidates", sa.Column("foretold", sa.JSON(none_as_null=True), nullable=True))
