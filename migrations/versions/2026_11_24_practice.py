"""Practice tasks with a known answer, what people said to them, and who may go on to real tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "8e42d6f1c3b7"
down_revision = "7d3f0c2a91be"

CHOICE_KNOWN = "choice IN ('left', 'right', 'tie', 'both_bad')"


def upgrade() -> None:
    with op.batch_alter_table("projects") as batch_op:
        batch_op.add_column(sa.Column("practice_tasks", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("qualifying_score", sa.Double(), nullable=False, server_default="0"))
    with op.batch_alter_table("memberships") as batch_op:
        batch_op.add_column(sa.Column("practised_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "practice_tasks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("left_text", sa.Text(), nullable=False),
        sa.Column("right_text", sa.Text(), nullable=True),
        sa.Column("choice", sa.String(length=10), nullable=True),
        sa.Column("overall", sa.Integer(), nullable=True),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('comparison', 'rating')", name=op.f("ck_practice_tasks_kind_known")),
        sa.CheckConstraint(CHOICE_KNOWN, name=op.f("ck_practice_tasks_choice_known")),
        sa.CheckConstraint("overall BETWEEN 1 AND 5", name=op.f("ck_practice_tasks_overall_1_to_5")),
        sa.CheckConstraint("(kind = 'comparison') = (right_text IS NOT NULL)", name=op.f("ck_practice_tasks_comparison_has_two")),
        sa.CheckConstraint("(kind = 'comparison') = (choice IS NOT NULL)", name=op.f("ck_practice_tasks_comparison_has_choice")),
        sa.CheckConstraint("(kind = 'rating') = (overall IS NOT NULL)", name=op.f("ck_practice_tasks_rating_has_overall")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_practice_tasks_project_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_practice_tasks_created_by"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_practice_tasks")),
    )
    op.create_index("ix_practice_tasks_project_id_archived_at", "practice_tasks", ["project_id", "archived_at"])
    op.create_table(
        "practice_verdicts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("choice", sa.String(length=10), nullable=True),
        sa.Column("overall", sa.Integer(), nullable=True),
        sa.Column("is_right", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(CHOICE_KNOWN, name=op.f("ck_practice_verdicts_choice_known")),
        sa.CheckConstraint("overall BETWEEN 1 AND 5", name=op.f("ck_practice_verdicts_overall_1_to_5")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_practice_verdicts_project_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["practice_tasks.id"], name=op.f("fk_practice_verdicts_task_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["users.id"], name=op.f("fk_practice_verdicts_annotator_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_practice_verdicts")),
        sa.UniqueConstraint("annotator_id", "task_id", "attempt", name=op.f("uq_practice_verdicts_annotator_id_task_id_attempt")),
    )
    op.create_index(op.f("ix_practice_verdicts_project_id"), "practice_verdicts", ["project_id"])
    op.create_index(op.f("ix_practice_verdicts_task_id"), "practice_verdicts", ["task_id"])
