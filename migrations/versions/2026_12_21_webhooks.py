"""What is announced of projects, the addresses that are told, and the outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "5b2e90c4d718"
down_revision = "e2b6417fa093"


def upgrade() -> None:
    _announcements()
    _webhooks()
    _deliveries()


def _key(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}"), ondelete="RESTRICT")


def _announcements() -> None:
    of = "announcements"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=True),
        sa.Column("round_id", sa.Integer(), nullable=True),
        sa.Column("event", sa.String(length=40), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        _key(of, "project_id", "projects"),
        _key(of, "round_id", "rounds"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_announcements")),
        sa.UniqueConstraint("name", name=op.f("uq_announcements_name")),
    )
    op.create_index("ix_announcements_project_id", of, ["project_id", "id"])
    op.create_index("ix_announcements_round_id", of, ["round_id"])


def _webhooks() -> None:
    of = "webhooks"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=500), nullable=False),
        sa.Column("secret", sa.String(length=100), nullable=False),
        sa.Column("former_secret", sa.String(length=100), nullable=True),
        sa.Column("former_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        _key(of, "created_by", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index("ix_webhooks_created_by", of, ["created_by"])


def _deliveries() -> None:
    of = "deliveries"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("webhook_id", sa.Integer(), nullable=False),
        sa.Column("announcement_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("trouble", sa.Text(), nullable=False),
        _key(of, "webhook_id", "webhooks"),
        _key(of, "announcement_id", "announcements"),
        sa.CheckConstraint("state IN ('waiting', 'delivered', 'given_up', 'dropped')", name=op.f("ck_deliveries_state_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("webhook_id", "announcement_id", name=op.f("uq_deliveries_webhook_id_announcement_id")),
    )
    op.create_index("ix_deliveries_announcement_id", of, ["announcement_id"])
    waiting = sa.text("state = 'waiting'")
    op.create_index("ix_deliveries_due", of, ["due_at"], postgresql_where=waiting, sqlite_where=waiting)
