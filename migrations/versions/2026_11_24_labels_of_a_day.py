"""What a person judged today is found without reading all they ever judged."""

from __future__ import annotations

from alembic import op

revision = "7d3f0c2a91be"
down_revision = "5c1d20e7b9a4"


def upgrade() -> None:
    op.create_index("ix_labels_annotator_id_created_at", "labels", ["annotator_id", "created_at"])
