"""Known answers, repeats and pauses; whose labels train nothing; and what was counted of those who judge."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "c41b7d90e3a8"
down_revision = "6b8f21d4a9e7"

PURPOSES = "'train', 'gold', 'repeat', 'evaluation'"
REASONS = "'random', 'uncertain', 'gold', 'repeat', 'evaluation', 'chat'"
RESERVED = sa.text("reserved_for IS NOT NULL")


def upgrade() -> None:
    op.add_column("projects", sa.Column("repeat_share", sa.Double(), nullable=False, server_default="0.03"))
    op.add_column("projects", sa.Column("gold_share", sa.Double(), nullable=False, server_default="0.05"))
    op.add_column("projects", sa.Column("gold_pauses", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("memberships", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("memberships", sa.Column("resumed_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("tasks") as batch_op:
        for column, values in (("purpose", PURPOSES), ("served_reason", REASONS)):
            batch_op.drop_constraint(op.f(f"ck_tasks_{column}_known"), type_="check")
            batch_op.create_check_constraint(op.f(f"ck_tasks_{column}_known"), f"{column} IN ({values})")
    with op.batch_alter_table("seats") as batch_op:
        batch_op.add_column(sa.Column("reserved_for", sa.Integer(), nullable=True))
        batch_op.create_foreign_key(op.f("fk_seats_reserved_for"), "users", ["reserved_for"], ["id"], ondelete="RESTRICT")
    op.create_index("ix_seats_reserved_for", "seats", ["reserved_for"], postgresql_where=RESERVED, sqlite_where=RESERVED)
    op.drop_index("ix_labels_usable", "labels")
    op.create_index("ix_labels_usable", "labels", ["project_id", "current", "surplus", "trains", "annotator_id"])
    _golds()
    _checks()
    _others()


def _key(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}"), ondelete="RESTRICT")


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=op.f(f"uq_{table}_{'_'.join(columns)}"))


def _golds() -> None:
    of = "golds"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("first_generation_id", sa.Integer(), nullable=False),
        sa.Column("second_generation_id", sa.Integer(), nullable=True),
        sa.Column("choice", sa.String(length=10), nullable=True),
        sa.Column("overall", sa.Integer(), nullable=True),
        sa.Column("source_task_id", sa.Integer(), nullable=True),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        _check(of, "choice_known", "choice IN ('first', 'second', 'tie', 'both_bad')"),
        _check(of, "overall_1_to_5", "overall BETWEEN 1 AND 5"),
        _check(of, "comparison_has_choice", "(choice IS NULL) = (second_generation_id IS NULL)"),
        _check(of, "rating_has_overall", "(overall IS NULL) = (second_generation_id IS NOT NULL)"),
        _key(of, "project_id", "projects"),
        _key(of, "prompt_id", "prompts"),
        _key(of, "first_generation_id", "generations"),
        _key(of, "second_generation_id", "generations"),
        _key(of, "source_task_id", "tasks"),
        _key(of, "created_by", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_golds")),
        _unique(of, "source_task_id"),
    )
    for column in ("project_id", "prompt_id", "first_generation_id", "second_generation_id", "created_by"):
        op.create_index(f"ix_golds_{column}", of, [column])


def _checks() -> None:
    of = "checks"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("repeats_id", sa.Integer(), nullable=True),
        sa.Column("gold_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        _check(of, "repeat_or_gold", "(repeats_id IS NULL) <> (gold_id IS NULL)"),
        _key(of, "project_id", "projects"),
        _key(of, "task_id", "tasks"),
        _key(of, "annotator_id", "users"),
        _key(of, "repeats_id", "tasks"),
        _key(of, "gold_id", "golds"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checks")),
        _unique(of, "task_id"),
        _unique(of, "annotator_id", "repeats_id"),
        _unique(of, "annotator_id", "gold_id"),
    )
    for column in ("project_id", "repeats_id", "gold_id"):
        op.create_index(f"ix_checks_{column}", of, [column])


def _others() -> None:
    of = "exclusions"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        _key(of, "project_id", "projects"),
        _key(of, "user_id", "users"),
        _key(of, "created_by", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exclusions")),
        _unique(of, "project_id", "user_id"),
    )
    for column in ("user_id", "created_by"):
        op.create_index(f"ix_exclusions_{column}", of, [column])

    of = "judges_reports"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("label_id", sa.Integer(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        _key(of, "project_id", "projects"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judges_reports")),
        _unique(of, "project_id"),
    )
