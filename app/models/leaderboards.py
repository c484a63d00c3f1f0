"""What was counted of a project's labels for its leaderboard, so that no page counts a million of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, key


class Leaderboard(Base):
    """One row a project. It can be thrown away: the labels are counted again."""

    __tablename__ = "leaderboards"
    __table_args__ = (UniqueConstraint("project_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    label_id: Mapped[int] = mapped_column(default=0)  # counted up to here
    counts: Mapped[dict[str, Any]] = mapped_column(
        default=dict
    )  # "contender contender longer" -> wins, ties, losses of the first
