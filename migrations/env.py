"""Runs the migrations inside the safety net of app/database/upgrade.py.

Reached through `tastemaker up` or the alembic command."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from app.database.engine import make_engine
from app.database.upgrade import safety_net
from app.models import Base, Utc
from app.settings import get_settings


def render_item(kind: str, item: Any, autogen_context: AutogenContext) -> str | Literal[False]:
    """Write our types as plain ones, so that an old migration does not depend on today's models."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Utc) else False


engine = context.config.attributes.get("engine") or make_engine(get_settings().url)
with safety_net(engine) as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        render_item=render_item,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()
