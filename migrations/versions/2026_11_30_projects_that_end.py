"""Projects with a name of their own that can be put away and deleted, runs done again, and what deleting looks up by."""

from __future__ import annotations

import hashlib
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "b7be09d2640f"
down_revision = "a41c9e7d2b60"

LOOKED_UP = (
    ("labels", "seat_id"),
    ("labels", "left_generation_id"),
    ("labels", "right_generation_id"),
    ("labels", "reward_checkpoint_id"),
    ("tasks", "reward_checkpoint_id"),
)


def upgrade() -> None:
    with op.batch_alter_table("projects") as batch_op:
        batch_op.add_column(sa.Column("name_digest", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("sampling_changed_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    _tell_names_apart()
    with op.batch_alter_table("projects") as batch_op:
        batch_op.alter_column("name_digest", existing_type=sa.String(length=64), nullable=False)
        batch_op.create_unique_constraint(op.f("uq_projects_name_digest"), ["name_digest"])
    with op.batch_alter_table("runs") as batch_op:
        batch_op.add_column(sa.Column("retry_of_id", sa.Integer(), nullable=True))
        batch_op.create_foreign_key(op.f("fk_runs_retry_of_id"), "runs", ["retry_of_id"], ["id"], ondelete="RESTRICT")
        batch_op.create_unique_constraint(op.f("uq_runs_retry_of_id"), ["retry_of_id"])
    for table, column in LOOKED_UP:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def _tell_names_apart() -> None:
    """The older of two projects with one name keeps it; the others get a number."""
    connection = op.get_bind()
    projects = connection.execute(sa.text("SELECT id, name FROM projects ORDER BY id")).all()
    taken = {_digest(name) for _, name in projects}
    used: set[str] = set()
    for project_id, name in projects:
        number, free = 1, name
        while _digest(free) in used or (number > 1 and _digest(free) in taken):
            number += 1
            free = f"{name[:190]} ({number})"
        used.add(_digest(free))
        connection.execute(
            sa.text("UPDATE projects SET name = :name, name_digest = :digest WHERE id = :id"),
            {"name": free, "digest": _digest(free), "id": project_id},
        )


def _digest(name: str) -> str:
    """As app.models.values.name_digest was when this was written."""
    signs = unicodedata.normalize("NFKC", name)
    shown = "".join(sign for sign in signs if sign.isspace() or unicodedata.category(sign) not in ("Cf", "Cc", "Cn"))
    return hashlib.sha256(" ".join(shown.casefold().split()).encode()).hexdigest()
