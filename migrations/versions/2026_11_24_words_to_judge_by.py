"""Flags of a project's own, what was once in use, how model text is shown, and which guidelines a member has seen."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "3b1f0c7a9d52"
down_revision = "ffd7ec07fe19"

FLAGS = [
    ("unsafe", "unsafe", "Following it could hurt somebody.", 1.0),
    ("hateful", "hateful", "It insults or demeans people.", 1.0),
    ("private_data", "private data", "It gives away what belongs to a person: an address, a number, a secret.", 1.0),
    ("untrue", "untrue", "It states something that is not so.", 0.5),
    ("off_topic", "off-topic", "It does not answer what was asked.", 0.5),
    ("broken", "broken", "It is cut off, repeats itself, or cannot be read.", 0.5),
]


def upgrade() -> None:
    """Existing projects get the flags they had as constants; their members count as told about today's guidelines."""
    flags = json.dumps([dict(zip(("key", "name", "description", "weight"), flag, strict=True)) for flag in FLAGS])
    with op.batch_alter_table("projects") as batch_op:
        batch_op.add_column(sa.Column("flags", sa.JSON(), nullable=False, server_default=flags))
        batch_op.add_column(sa.Column("retired", sa.JSON(), nullable=False, server_default='{"criteria": [], "flags": []}'))
        batch_op.add_column(sa.Column("text_display", sa.String(length=10), nullable=False, server_default="written"))
        batch_op.create_check_constraint(op.f("ck_projects_text_display_known"), "text_display IN ('written', 'markdown')")
    with op.batch_alter_table("memberships") as batch_op:
        batch_op.add_column(sa.Column("seen_guideline_version", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE memberships SET seen_guideline_version = "
        "(SELECT guideline_version FROM projects WHERE projects.id = memberships.project_id)"
    )
