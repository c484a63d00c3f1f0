"""A seat has a place in the queue, so that what is new can come first without anything being written anew.

Seats that are there keep the order they have. A project says since when there may be answers to ask about, and at which place.
Labels with a rewrite have an index of their own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "a5d3c17e90b4"
down_revision = "7d20b9e4c1f6"


def upgrade() -> None:
    op.add_column("seats", sa.Column("place", sa.BigInteger(), nullable=False, server_default="0"))
    op.drop_index("ix_seats_queue", "seats")
    op.drop_index("ix_seats_annotator_id", "seats")
    op.execute("UPDATE seats SET place = id")
    op.create_index("ix_seats_queue", "seats", ["project_id", "state", "place", "id"])
    op.create_index("ix_seats_annotator_id", "seats", ["annotator_id", "project_id", "state", "claimed_at"])
    where = sa.text("rewrite IS NOT NULL")
    op.create_index("ix_labels_rewritten", "labels", ["project_id"], postgresql_where=where, sqlite_where=where)
    op.add_column("projects", sa.Column("questions_due_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("projects", sa.Column("questions_place", sa.BigInteger(), nullable=False, server_default="0"))
