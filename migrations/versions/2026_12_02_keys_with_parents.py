"""Whose doing a key is, which key minted it, and the projects it is bound to; events found by whom they are about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "c4f81d6b2e09"
down_revision = "b7e2a90d4c15"


def upgrade() -> None:
    """Who made a key that is there already stands in the audit trail; which key minted it was never kept."""
    with op.batch_alter_table("api_keys") as batch_op:
        batch_op.add_column(sa.Column("made_by", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("parent_id", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("project_ids", sa.JSON(), nullable=True))
        batch_op.create_foreign_key(op.f("fk_api_keys_made_by"), "users", ["made_by"], ["id"], ondelete="RESTRICT")
        batch_op.create_foreign_key(op.f("fk_api_keys_parent_id"), "api_keys", ["parent_id"], ["id"], ondelete="RESTRICT")
        batch_op.create_index(op.f("ix_api_keys_made_by"), ["made_by"])
        batch_op.create_index(op.f("ix_api_keys_parent_id"), ["parent_id"])
    op.execute(
        "UPDATE api_keys SET made_by = (SELECT MIN(actor_id) FROM audit "
        "WHERE action = 'key.made' AND subject = 'key ' || CAST(api_keys.id AS VARCHAR(20)))"
    )
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"])
