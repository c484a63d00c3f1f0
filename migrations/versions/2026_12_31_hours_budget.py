"""How many hours people may work for a project in a month, and how far that is used; projects that exist have no bound."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "6e1b94d27fc8"
down_revision = "c41d8e7f60a2"


def upgrade() -> None:
    op.add_column("projects", sa.Column("hours_budget", sa.Double(), nullable=True))
    op.add_column("projects", sa.Column("hours_worked", sa.Double(), nullable=True))
    op.add_column("projects", sa.Column("hours_counted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("projects", sa.Column("closed_until", sa.DateTime(timezone=True), nullable=True))
