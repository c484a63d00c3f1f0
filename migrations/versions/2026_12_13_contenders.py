"""Answers have a contender, whatever wrote them; those that are not ours have no checkpoint, tokens or seed.

On SQLite the table of answers is written anew once: its columns cannot become optional otherwise.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "5d19c6b0e8f3"
down_revision = "0b7e3f52c9d4"

OURS = {
    "ours_have_token_ids": "(checkpoint_id IS NULL) = (token_ids IS NULL)",
    "ours_have_runs_and_seeds": "checkpoint_id IS NULL OR (run_id IS NOT NULL AND seed IS NOT NULL)",
}
OLD = "id, prompt_id, checkpoint_id, run_id, number, settings, seed, text, token_ids, finish_reason, created_at"


def upgrade() -> None:
    _make_contenders()
    sqlite = op.get_bind().dialect.name == "sqlite"
    best_of, reward = (
        ("coalesce(json_extract(g.settings, '$.best_of'), 1)", "json_extract(g.settings, '$.reward')")
        if sqlite
        else ("coalesce((g.settings ->> 'best_of')::int, 1)", "(g.settings ->> 'reward')::int")
    )
    chosen = f"{best_of} > 1 AND {reward} IS NOT NULL"  # else it was drawn alone
    how = f"CASE WHEN {chosen} THEN {best_of} ELSE 1 END", f"CASE WHEN {chosen} THEN {reward} END"
    op.get_bind().execute(
        sa.text(
            "INSERT INTO contenders (project_id, kind, checkpoint_id, best_of, reward_id, created_at)"
            " SELECT project_id, CASE WHEN best_of > 1 THEN 'best_of' ELSE 'policy' END, checkpoint_id, best_of, reward_id, :now"
            f" FROM (SELECT DISTINCT g.checkpoint_id, {how[0]} AS best_of, {how[1]} AS reward_id FROM generations g) AS found"
            " JOIN checkpoints ON checkpoints.id = found.checkpoint_id ORDER BY checkpoint_id, best_of, reward_id"
        ).bindparams(sa.bindparam("now", datetime.now(UTC), sa.DateTime(timezone=True)))
    )
    theirs = f"c.checkpoint_id = g.checkpoint_id AND c.best_of = {how[0]} AND c.reward_id IS NOT DISTINCT FROM {how[1]}"
    if sqlite:
        _rebuild(theirs)
    else:
        _alter(theirs)
    op.create_index("ix_generations_contender_id_prompt_id", "generations", ["contender_id", "prompt_id"])
    where = sa.text("run_id IS NULL")
    op.create_index(
        "uq_generations_without_run",
        "generations",
        ["contender_id", "prompt_id", "number"],
        unique=True,
        postgresql_where=where,
        sqlite_where=where,
    )


def _make_contenders() -> None:
    op.create_table(
        "contenders",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("checkpoint_id", sa.Integer(), nullable=True),
        sa.Column("best_of", sa.Integer(), nullable=False),
        sa.Column("reward_id", sa.Integer(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("model", sa.String(length=200), nullable=True),
        sa.Column("key_variable", sa.String(length=100), nullable=True),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        *(
            sa.CheckConstraint(condition, name=op.f(f"ck_contenders_{name}"))
            for name, condition in (
                ("kind_known", "kind IN ('policy', 'best_of', 'outside', 'imported')"),
                ("ours_have_checkpoints", "(kind IN ('policy', 'best_of')) = (checkpoint_id IS NOT NULL)"),
                ("others_have_names", "(kind IN ('outside', 'imported')) = (name IS NOT NULL)"),
                ("choosing_needs_a_reward", "(kind = 'best_of') = (reward_id IS NOT NULL)"),
                ("choosing_needs_several", "(kind = 'best_of') = (best_of > 1) AND best_of >= 1"),
                ("outside_has_an_address", "(kind = 'outside') = (address IS NOT NULL)"),
                ("outside_has_a_model", "(kind = 'outside') = (model IS NOT NULL)"),
                ("keys_are_for_outside", "kind = 'outside' OR key_variable IS NULL"),
            )
        ),
        *(
            sa.ForeignKeyConstraint([column], [f"{table}.id"], name=op.f(f"fk_contenders_{column}"), ondelete="RESTRICT")
            for column, table in (
                ("project_id", "projects"),
                ("checkpoint_id", "checkpoints"),
                ("reward_id", "checkpoints"),
                ("created_by", "users"),
            )
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contenders")),
    )
    for column in ("project_id", "checkpoint_id", "reward_id"):
        op.create_index(f"ix_contenders_{column}", "contenders", [column])
    op.create_index("ix_contenders_created_by", "contenders", ["created_by"])
    for name, columns, condition in (
        ("policy", ["checkpoint_id"], "kind = 'policy'"),
        ("best_of", ["checkpoint_id", "best_of", "reward_id"], "kind = 'best_of'"),
        ("name", ["project_id", "name"], "kind IN ('outside', 'imported')"),
    ):
        where = sa.text(condition)
        op.create_index(f"uq_contenders_{name}", "contenders", columns, unique=True, postgresql_where=where, sqlite_where=where)


def _rebuild(theirs: str) -> None:
    op.create_table(
        "generations_anew",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("contender_id", sa.Integer(), nullable=False),
        sa.Column("checkpoint_id", sa.Integer(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("token_ids", sa.JSON(), nullable=True),
        sa.Column("finish_reason", sa.String(length=10), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("finish_reason IN ('eos', 'length')", name=op.f("ck_generations_finish_reason_known")),
        *(sa.CheckConstraint(condition, name=op.f(f"ck_generations_{name}")) for name, condition in OURS.items()),
        *(
            sa.ForeignKeyConstraint(
                [f"{table}_id"], [f"{table}s.id"], name=op.f(f"fk_generations_{table}_id"), ondelete="RESTRICT"
            )
            for table in ("prompt", "contender", "checkpoint", "run")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generations")),
        sa.UniqueConstraint("run_id", "prompt_id", "number", name=op.f("uq_generations_run_id_prompt_id_number")),
    )
    of_answers = ", ".join(f"g.{column.strip()}" for column in OLD.split(","))
    op.execute(
        f"INSERT INTO generations_anew ({OLD}, contender_id) SELECT {of_answers}, c.id FROM generations g"
        f" LEFT JOIN contenders c ON {theirs}"  # left: one that finds none ends the upgrade, and is not lost
    )
    op.drop_table("generations")
    op.rename_table("generations_anew", "generations")
    op.create_index("ix_generations_checkpoint_id", "generations", ["checkpoint_id"])
    op.create_index("ix_generations_prompt_id_checkpoint_id", "generations", ["prompt_id", "checkpoint_id"])


def _alter(theirs: str) -> None:
    op.add_column("generations", sa.Column("contender_id", sa.Integer(), nullable=True))
    op.execute(f"UPDATE generations AS g SET contender_id = c.id FROM contenders c WHERE {theirs}")
    op.alter_column("generations", "contender_id", nullable=False)
    for column in ("checkpoint_id", "run_id", "seed", "token_ids"):
        op.alter_column("generations", column, nullable=True)
    for name, condition in OURS.items():
        op.create_check_constraint(op.f(f"ck_generations_{name}"), "generations", condition)
    op.create_foreign_key(
        op.f("fk_generations_contender_id"), "generations", "contenders", ["contender_id"], ["id"], ondelete="RESTRICT"
    )
