"""Talks: people write to the policy and judge its continuations. Answers of ours need no run, and a task may be of a talk.

On SQLite the tables of answers and of tasks are written anew once: their conditions cannot change otherwise.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "6b8f21d4a9e7"
down_revision = "c7d51f0e8a36"


def upgrade() -> None:
    op.add_column("projects", sa.Column("chat_on", sa.Boolean(), nullable=False, server_default=sa.false()))
    _answers()
    _tasks()
    _talks()


def _answers() -> None:
    where = sa.text("run_id IS NULL")
    op.drop_index("uq_generations_without_run", "generations")
    with op.batch_alter_table("generations") as batch_op:
        batch_op.drop_constraint(op.f("ck_generations_ours_have_runs_and_seeds"), type_="check")
        batch_op.create_check_constraint(op.f("ck_generations_ours_have_seeds"), "checkpoint_id IS NULL OR seed IS NOT NULL")
    op.create_index(
        "uq_generations_without_run",
        "generations",
        ["contender_id", "prompt_id", "number"],
        unique=True,
        postgresql_where=where,
        sqlite_where=where,
    )


def _tasks() -> None:
    where, where_sqlite = sa.text("disputed"), sa.text("disputed = 1")
    reasons = "'random', 'uncertain', 'gold', 'evaluation', 'chat'"
    op.drop_index("ix_tasks_disputed", "tasks")
    with op.batch_alter_table("tasks") as batch_op:
        batch_op.drop_constraint(op.f("ck_tasks_served_reason_known"), type_="check")
        batch_op.create_check_constraint(op.f("ck_tasks_served_reason_known"), f"served_reason IN ({reasons})")
    op.create_index("ix_tasks_disputed", "tasks", ["project_id", "id"], postgresql_where=where, sqlite_where=where_sqlite)


def _key(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}"), ondelete="RESTRICT")


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def _talks() -> None:
    of = "chats"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("client_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        _key(of, "project_id", "projects"),
        _key(of, "annotator_id", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chats")),
        sa.UniqueConstraint("client_id", name=op.f("uq_chats_client_id")),
    )
    op.create_index("ix_chats_project_id_annotator_id", of, ["project_id", "annotator_id", "id"])
    op.create_index("ix_chats_annotator_id", of, ["annotator_id"])

    of = "chat_turns"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("chat_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("client_id", sa.String(length=36), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("left_policy_id", sa.Integer(), nullable=False),
        sa.Column("right_policy_id", sa.Integer(), nullable=False),
        sa.Column("left_seed", sa.Integer(), nullable=False),
        sa.Column("right_seed", sa.Integer(), nullable=False),
        sa.Column("left_generation_id", sa.Integer(), nullable=True),
        sa.Column("right_generation_id", sa.Integer(), nullable=True),
        sa.Column("task_id", sa.Integer(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        _check(of, "both_are_there", "(left_generation_id IS NULL) = (right_generation_id IS NULL)"),
        _check(of, "answered_before_it_goes_on", "left_generation_id IS NOT NULL OR reply IS NULL"),
        _check(of, "judged_goes_on", "task_id IS NULL OR reply IS NOT NULL"),
        _key(of, "chat_id", "chats"),
        _key(of, "left_policy_id", "checkpoints"),
        _key(of, "right_policy_id", "checkpoints"),
        _key(of, "left_generation_id", "generations"),
        _key(of, "right_generation_id", "generations"),
        _key(of, "task_id", "tasks"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_turns")),
        sa.UniqueConstraint("chat_id", "number", name=op.f("uq_chat_turns_chat_id_number")),
        sa.UniqueConstraint("client_id", name=op.f("uq_chat_turns_client_id")),
        sa.UniqueConstraint("task_id", name=op.f("uq_chat_turns_task_id")),
    )
    for column in ("left_policy_id", "right_policy_id", "left_generation_id", "right_generation_id"):
        op.create_index(f"ix_chat_turns_{column}", of, [column])

    of = "proposed_prompts"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("proposed_by", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=True),
        sa.Column("decided_by", sa.Integer(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        _check(of, "decided_either_way", "(decided_at IS NULL) = (accepted IS NULL)"),
        _key(of, "project_id", "projects"),
        _key(of, "prompt_id", "prompts"),
        _key(of, "proposed_by", "users"),
        _key(of, "decided_by", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposed_prompts")),
        sa.UniqueConstraint("prompt_id", name=op.f("uq_proposed_prompts_prompt_id")),
    )
    for column in ("project_id", "proposed_by", "decided_by"):
        op.create_index(f"ix_proposed_prompts_{column}", of, [column])
    where = sa.text("decided_at IS NULL")
    op.create_index("ix_proposed_prompts_waiting", of, ["project_id", "id"], postgresql_where=where, sqlite_where=where)
