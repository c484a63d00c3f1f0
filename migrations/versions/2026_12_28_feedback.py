"""What comes back from use: answers that are kept, thumbs and corrections, and tasks that were made of them.

On SQLite the table of tasks is written anew once: its conditions cannot change otherwise.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "f27b90c3d18e"
down_revision = "b7d0e35c91f4"

REASONS = "'random', 'uncertain', 'gold', 'repeat', 'evaluation', 'chat', 'feedback'"
WAITING = sa.text("decided_at IS NULL AND withdrawn_at IS NULL")


def upgrade() -> None:
    _tasks()
    _kept_answers()
    _feedback()


def _tasks() -> None:
    where, where_sqlite = sa.text("disputed"), sa.text("disputed = 1")
    op.drop_index("ix_tasks_disputed", "tasks")
    with op.batch_alter_table("tasks") as batch_op:
        batch_op.drop_constraint(op.f("ck_tasks_served_reason_known"), type_="check")
        batch_op.create_check_constraint(op.f("ck_tasks_served_reason_known"), f"served_reason IN ({REASONS})")
    op.create_index("ix_tasks_disputed", "tasks", ["project_id", "id"], postgresql_where=where, sqlite_where=where_sqlite)


def _key(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}"), ondelete="RESTRICT")


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def _kept_answers() -> None:
    of = "kept_answers"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("policy_id", sa.Integer(), nullable=False),
        sa.Column("completion_id", sa.String(length=60), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("token_ids", sa.JSON(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("finish_reason", sa.String(length=10), nullable=False),
        sa.Column("kept_by", sa.Integer(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        _key(of, "project_id", "projects"),
        _key(of, "policy_id", "checkpoints"),
        _key(of, "kept_by", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kept_answers")),
        sa.UniqueConstraint("completion_id", "number", name=op.f("uq_kept_answers_completion_id_number")),
    )
    for column in ("project_id", "policy_id", "kept_by"):
        op.create_index(f"ix_kept_answers_{column}", of, [column])


def _feedback() -> None:
    of = "feedback"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("given_by", sa.Integer(), nullable=False),
        sa.Column("client_id", sa.String(length=36), nullable=False),
        sa.Column("payload_hash", sa.String(length=64), nullable=False),
        sa.Column("policy_id", sa.Integer(), nullable=False),
        sa.Column("answer_id", sa.Integer(), nullable=True),
        sa.Column("thumb", sa.String(length=10), nullable=False),
        sa.Column("consent", sa.Boolean(), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("correction", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accepted", sa.Boolean(), nullable=True),
        sa.Column("decided_by", sa.Integer(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("label_id", sa.Integer(), nullable=True),
        _check(of, "thumb_known", "thumb IN ('up', 'down')"),
        _check(of, "decided_either_way", "(decided_at IS NULL) = (accepted IS NULL)"),
        _check(of, "texts_need_consent", "consent OR (messages IS NULL AND text IS NULL AND correction IS NULL)"),
        _check(of, "labels_were_let_in", "label_id IS NULL OR (consent AND accepted)"),
        _key(of, "project_id", "projects"),
        _key(of, "given_by", "users"),
        _key(of, "policy_id", "checkpoints"),
        _key(of, "answer_id", "kept_answers"),
        _key(of, "decided_by", "users"),
        _key(of, "label_id", "labels"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
        sa.UniqueConstraint("client_id", name=op.f("uq_feedback_client_id")),
        sa.UniqueConstraint("label_id", name=op.f("uq_feedback_label_id")),
    )
    for column in ("project_id", "given_by", "policy_id", "answer_id", "decided_by"):
        op.create_index(f"ix_feedback_{column}", of, [column])
    op.create_index("ix_feedback_waiting", of, ["project_id", "id"], postgresql_where=WAITING, sqlite_where=WAITING)
