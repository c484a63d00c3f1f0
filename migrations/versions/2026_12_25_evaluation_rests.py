"""Who is ahead of all the others in an evaluation rests for a while; nobody does in those that go on now, until the next look."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "a94c1e07d652"
down_revision = "a93c5e71d204"


def upgrade() -> None:
    op.create_table(
        "evaluation_rests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        *(
            sa.ForeignKeyConstraint(
                [f"{one}_id"], [f"{table}.id"], name=op.f(f"fk_evaluation_rests_{one}_id"), ondelete="RESTRICT"
            )
            for one, table in (("project", "projects"), ("evaluation", "evaluations"), ("annotator", "users"))
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_rests")),
        sa.UniqueConstraint(
            "project_id", "annotator_id", "evaluation_id", name=op.f("uq_evaluation_rests_project_id_annotator_id_evaluation_id")
        ),
    )
    for column in ("evaluation_id", "annotator_id"):
        op.create_index(f"ix_evaluation_rests_{column}", "evaluation_rests", [column])
