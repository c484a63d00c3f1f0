"""Models outside are registered for the whole installation, and a run may ask one.

No contender was one of them before: nothing could make one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "e2b6417fa093"
down_revision = "c41b7d90e3a8"

NAMES = {
    "policy": (["checkpoint_id"], "kind = 'policy'"),
    "best_of": (["checkpoint_id", "best_of", "reward_id"], "kind = 'best_of'"),
    "name": (["project_id", "name"], "kind IN ('outside', 'imported')"),
}


def upgrade() -> None:
    op.create_table(
        "outside_models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("address", sa.String(length=500), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("key_variable", sa.String(length=100), nullable=True),
        sa.Column("own_network", sa.Boolean(), nullable=False),
        sa.Column("prompt_price", sa.Double(), nullable=True),
        sa.Column("answer_price", sa.Double(), nullable=True),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(prompt_price IS NULL) = (answer_price IS NULL)", name=op.f("ck_outside_models_prices_are_two")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_outside_models_created_by"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outside_models")),
    )
    op.create_index("ix_outside_models_created_by", "outside_models", ["created_by"])
    in_use = sa.text("archived_at IS NULL")
    op.create_index(
        "uq_outside_models_name", "outside_models", ["name"], unique=True, postgresql_where=in_use, sqlite_where=in_use
    )
    _contenders()
    with op.batch_alter_table("runs") as batch_op:
        batch_op.drop_constraint(op.f("ck_runs_kind_known"), type_="check")
        batch_op.create_check_constraint(
            op.f("ck_runs_kind_known"), "kind IN ('sample', 'ask', 'reward', 'ppo', 'preference', 'sft')"
        )


def _contenders() -> None:
    """Where it is asked is the registered model's; on SQLite the table is written anew, without its partial indexes meanwhile."""
    for name in NAMES:
        op.drop_index(f"uq_contenders_{name}", "contenders")
    with op.batch_alter_table("contenders") as batch_op:
        for constraint in ("outside_has_an_address", "outside_has_a_model", "keys_are_for_outside"):
            batch_op.drop_constraint(op.f(f"ck_contenders_{constraint}"), type_="check")
        for column in ("address", "model", "key_variable"):
            batch_op.drop_column(column)
        batch_op.add_column(sa.Column("outside_id", sa.Integer(), nullable=True))
        batch_op.create_foreign_key(
            op.f("fk_contenders_outside_id"), "outside_models", ["outside_id"], ["id"], ondelete="RESTRICT"
        )
        batch_op.create_check_constraint(
            op.f("ck_contenders_outside_is_registered"), "(kind = 'outside') = (outside_id IS NOT NULL)"
        )
    op.create_index("ix_contenders_outside_id", "contenders", ["outside_id"])
    for name, (columns, condition) in NAMES.items():
        where = sa.text(condition)
        op.create_index(f"uq_contenders_{name}", "contenders", columns, unique=True, postgresql_where=where, sqlite_where=where)
