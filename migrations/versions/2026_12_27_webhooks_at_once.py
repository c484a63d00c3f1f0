"""An address is registered once, also by two at the same moment; each former secret has its own end."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "b7d0e35c91f4"
down_revision = "91c4b7d2e0a6"

WEBHOOKS = sa.table(
    "webhooks",
    sa.column("id", sa.Integer()),
    sa.column("address", sa.String()),
    sa.column("secret", sa.String()),
    sa.column("former_secret", sa.String()),
    sa.column("former_secrets", sa.JSON()),
    sa.column("former_until", sa.DateTime(timezone=True)),
    sa.column("removed_at", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("former_secrets", sa.JSON(), nullable=False, server_default="[]"))
    _keep_former_secrets()
    op.drop_column("webhooks", "former_secret")
    _remove_second_ones()
    in_force = sa.text("removed_at IS NULL")
    op.create_index(
        "ix_webhooks_in_force", "webhooks", ["address"], unique=True, postgresql_where=in_force, sqlite_where=in_force
    )


def _keep_former_secrets() -> None:
    found = sa.select(WEBHOOKS.c.id, WEBHOOKS.c.former_secret, WEBHOOKS.c.former_until)
    for webhook_id, secret, until in op.get_bind().execute(found.where(WEBHOOKS.c.former_secret.is_not(None))).all():
        kept = [[secret, until.replace(tzinfo=until.tzinfo or UTC).isoformat()]]
        op.execute(WEBHOOKS.update().where(WEBHOOKS.c.id == webhook_id).values(former_secrets=kept))


def _remove_second_ones() -> None:
    """The first of each address stays; a worker drops what waits for the others."""
    in_force = WEBHOOKS.c.removed_at.is_(None)
    first = sa.select(sa.func.min(WEBHOOKS.c.id)).where(in_force).group_by(WEBHOOKS.c.address)
    gone = {"removed_at": datetime.now(UTC), "secret": "", "former_secrets": []}
    op.execute(WEBHOOKS.update().where(in_force, WEBHOOKS.c.id.not_in(first)).values(gone))
