"""A run may train a policy on labels themselves.

The kinds that a run may be of are a constraint of its table.
"""

from __future__ import annotations

from alembic import op

revision = "c81f5a20d7e3"
down_revision = "a5d3c17e90b4"


def upgrade() -> None:
    with op.batch_alter_table("runs") as batch_op:
        batch_op.drop_constraint(op.f("ck_runs_kind_known"), type_="check")
        batch_op.create_check_constraint(op.f("ck_runs_kind_known"), "kind IN ('sample', 'reward', 'ppo', 'preference', 'sft')")
