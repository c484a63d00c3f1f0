"""Rankings: tasks of several answers that are put in order, and what was said of them.

On SQLite the tables of tasks and of labels are written anew once: their conditions cannot change otherwise.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "c41d8e7f60a2"
down_revision = "3c8f1d70ab52"

KINDS = "'comparison', 'rating', 'ranking'"


def upgrade() -> None:
    _tasks()
    _labels()
    op.create_table(
        "ranked_answers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("generation_id", sa.Integer(), nullable=False),
        sa.CheckConstraint("number BETWEEN 1 AND 6", name=op.f("ck_ranked_answers_six_at_most")),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_ranked_answers_task_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["generation_id"], ["generations.id"], name=op.f("fk_ranked_answers_generation_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ranked_answers")),
        sa.UniqueConstraint("task_id", "number", name=op.f("uq_ranked_answers_task_id_number")),
        sa.UniqueConstraint("task_id", "generation_id", name=op.f("uq_ranked_answers_task_id_generation_id")),
    )
    op.create_index("ix_ranked_answers_generation_id", "ranked_answers", ["generation_id"])


def _tasks() -> None:
    where, where_sqlite = sa.text("disputed"), sa.text("disputed = 1")
    op.drop_index("ix_tasks_disputed", "tasks")
    with op.batch_alter_table("tasks") as batch_op:
        batch_op.drop_constraint(op.f("ck_tasks_kind_known"), type_="check")
        batch_op.create_check_constraint(op.f("ck_tasks_kind_known"), f"kind IN ({KINDS})")
        batch_op.create_check_constraint(op.f("ck_tasks_rankings_train"), "kind <> 'ranking' OR purpose = 'train'")
    op.create_index("ix_tasks_disputed", "tasks", ["project_id", "id"], postgresql_where=where, sqlite_where=where_sqlite)


def _labels() -> None:
    """Indexes of some rows alone are made anew: on SQLite they would come back without their condition."""
    partial = {
        "ix_labels_rewritten": (["project_id"], sa.text("rewrite IS NOT NULL")),
        "ix_labels_first": (["project_id", "created_at"], sa.text("version = 1")),
    }
    for name in partial:
        op.drop_index(name, "labels")
    with op.batch_alter_table("labels") as batch_op:
        batch_op.add_column(sa.Column("ranking", sa.JSON(none_as_null=True), nullable=True))
        batch_op.drop_constraint(op.f("ck_labels_kind_known"), type_="check")
        batch_op.create_check_constraint(op.f("ck_labels_kind_known"), f"kind IN ({KINDS})")
        batch_op.create_check_constraint(op.f("ck_labels_ranking_has_order"), "(kind = 'ranking') = (ranking IS NOT NULL)")
    for name, (columns, where) in partial.items():
        op.create_index(name, "labels", columns, postgresql_where=where, sqlite_where=where)
