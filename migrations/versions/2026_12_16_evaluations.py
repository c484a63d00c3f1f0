"""Evaluations: people judge candidates blind, and a round waits for what they say. Projects that exist begin without."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "93e0a4d7c15b"
down_revision = "a4d7f10c2b96"

STATES = "'reward', 'ppo', 'sample', 'evaluation', 'decision', 'done', 'refused', 'failed', 'cancelled'"
OPEN = "state IN ('reward', 'ppo', 'sample', 'evaluation', 'decision')"


def upgrade() -> None:
    _projects()
    _rounds()
    _tables()


def _projects() -> None:
    op.add_column("projects", sa.Column("evaluation_on", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("projects", sa.Column("evaluation_share", sa.Double(), nullable=False, server_default="0.3"))
    op.add_column("projects", sa.Column("evaluation_budget", sa.Integer(), nullable=False, server_default="400"))
    op.add_column("projects", sa.Column("evaluation_flag_margin", sa.Double(), nullable=False, server_default="0.1"))
    op.add_column("projects", sa.Column("evaluation_promotes", sa.Boolean(), nullable=False, server_default=sa.false()))


def _rounds() -> None:
    op.drop_index("uq_rounds_open", "rounds")
    with op.batch_alter_table("rounds") as batch_op:
        batch_op.drop_constraint(op.f("ck_rounds_state_known"), type_="check")
        batch_op.create_check_constraint(op.f("ck_rounds_state_known"), f"state IN ({STATES})")
    where = sa.text(OPEN)
    op.create_index("uq_rounds_open", "rounds", ["project_id"], unique=True, postgresql_where=where, sqlite_where=where)


def _key(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}"), ondelete="RESTRICT")


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def _tables() -> None:
    of = "evaluations"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("round_id", sa.Integer(), nullable=True),
        sa.Column("baseline_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("budget", sa.Integer(), nullable=False),
        sa.Column("error", sa.Double(), nullable=False),
        sa.Column("flag_margin", sa.Double(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("pairs", sa.Integer(), nullable=False),
        sa.Column("prompt_ids", sa.JSON(), nullable=False),
        sa.Column("expected", sa.JSON(), nullable=True),
        sa.Column("mixed_place", sa.BigInteger(), nullable=True),
        sa.Column("mixed_seat", sa.Integer(), nullable=False),
        sa.Column("seen", sa.String(length=100), nullable=False),
        sa.Column("decision", sa.String(length=10), nullable=True),
        sa.Column("winner_id", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        _check(of, "state_known", "state IN ('answering', 'open', 'decided', 'cancelled')"),
        _check(of, "decision_known", "decision IN ('promoted', 'rejected')"),
        _check(of, "decided_has_a_decision", "(state = 'decided') = (decision IS NOT NULL)"),
        _check(of, "promoted_has_a_winner", "(decision = 'promoted') = (winner_id IS NOT NULL)"),
        _key(of, "project_id", "projects"),
        _key(of, "round_id", "rounds"),
        _key(of, "baseline_id", "contenders"),
        _key(of, "winner_id", "contenders"),
        _key(of, "created_by", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
    )
    for column in ("project_id", "baseline_id", "winner_id", "created_by"):
        op.create_index(f"ix_evaluations_{column}", of, [column])
    rounds, live = sa.text("round_id IS NOT NULL"), sa.text("state IN ('answering', 'open')")
    op.create_index("uq_evaluations_round_id", of, ["round_id"], unique=True, postgresql_where=rounds, sqlite_where=rounds)
    op.create_index("ix_evaluations_live", of, ["project_id"], postgresql_where=live, sqlite_where=live)

    of = "evaluation_candidates"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("contender_id", sa.Integer(), nullable=False),
        sa.Column("promotable", sa.Boolean(), nullable=False),
        sa.Column("standing", sa.JSON(), nullable=True),
        _key(of, "evaluation_id", "evaluations"),
        _key(of, "contender_id", "contenders"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_candidates")),
        sa.UniqueConstraint("evaluation_id", "contender_id", name=op.f("uq_evaluation_candidates_evaluation_id_contender_id")),
    )
    op.create_index("ix_evaluation_candidates_contender_id", of, ["contender_id"])

    of = "evaluation_tasks"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("candidate_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("pair", sa.Integer(), nullable=False),
        sa.Column("predicted", sa.Double(), nullable=True),
        _check(of, "predicted_is_a_probability", "predicted BETWEEN 0 AND 1"),
        _key(of, "candidate_id", "evaluation_candidates"),
        _key(of, "task_id", "tasks"),
        _key(of, "prompt_id", "prompts"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_tasks")),
        sa.UniqueConstraint("task_id", name=op.f("uq_evaluation_tasks_task_id")),
        sa.UniqueConstraint("candidate_id", "place", "pair", name=op.f("uq_evaluation_tasks_candidate_id_place_pair")),
    )
    op.create_index("ix_evaluation_tasks_prompt_id", of, ["prompt_id"])
