"""A project has one open round, and the database says so. NUL in answers, which SQLite took, becomes the sign that stands for it.

Of several open rounds that starts at one moment left behind, the first stays; the others are cancelled, and their runs with them.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "7d20b9e4c1f6"
down_revision = "f6c20a9b47d1"

OPEN = "state IN ('reward', 'ppo', 'sample', 'decision')"
CANCELLED = '{"code": "round_cancelled", "arguments": {}}'
CANCELLED_RUN = '{"code": "cancelled_before_start", "arguments": {}}'


def upgrade() -> None:
    connection = op.get_bind()
    now = datetime.now(UTC)
    double = f"SELECT id FROM rounds WHERE {OPEN} AND id NOT IN (SELECT min(id) FROM rounds WHERE {OPEN} GROUP BY project_id)"
    values = {"now": now, "said": CANCELLED, "run_said": CANCELLED_RUN}
    moment = [sa.bindparam("now", type_=sa.DateTime(timezone=True))]
    theirs = f"round_id IN ({double})"
    waiting = f"UPDATE runs SET state = 'cancelled', ended_at = :now, message = :run_said WHERE state = 'queued' AND {theirs}"
    working = f"UPDATE runs SET cancel_requested_at = :now WHERE state = 'running' AND {theirs}"
    closed = f"UPDATE rounds SET state = 'cancelled', ended_at = :now, reason = :said WHERE id IN ({double})"
    for statement in (waiting, working, closed):
        used = {name: value for name, value in values.items() if f":{name}" in statement}
        connection.execute(sa.text(statement).bindparams(*moment), used)
    where = sa.text(OPEN)
    op.create_index("uq_rounds_open", "rounds", ["project_id"], unique=True, postgresql_where=where, sqlite_where=where)
    if connection.dialect.name == "sqlite":
        _replace_nul(connection)


def _replace_nul(connection: sa.Connection) -> None:
    """PostgreSQL never took one."""
    found = sa.text("SELECT id, text FROM generations WHERE instr(CAST(text AS BLOB), x'00') > 0")
    for generation_id, text in connection.execute(found).all():
        changed = {"text": text.replace("\0", "\ufffd"), "id": generation_id}
        connection.execute(sa.text("UPDATE generations SET text = :text WHERE id = :id"), changed)
