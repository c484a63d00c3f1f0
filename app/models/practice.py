"""Practice. Its tasks are no `tasks` and its verdicts no `labels`: nothing that learns, exports or measures can read them by
mistake, and a text that an admin wrote has no checkpoint a generation could point to.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Index,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, key, one_of, utc_now


class PracticeTask(Base):
    """A question with a known answer, and why it is the answer. Sides stand as they were written: the explanation names them."""

    __tablename__ = "practice_tasks"
    __table_args__ = (
        one_of("kind", "comparison", "rating"),
        one_of("choice", "left", "right", "tie", "both_bad"),
        CheckConstraint("overall BETWEEN 1 AND 5", name="overall_1_to_5"),
        CheckConstraint("(kind = 'comparison') = (right_text IS NOT NULL)", name="comparison_has_two"),
        CheckConstraint("(kind = 'comparison') = (choice IS NOT NULL)", name="comparison_has_choice"),
        CheckConstraint("(kind = 'rating') = (overall IS NOT NULL)", name="rating_has_overall"),
        Index("ix_practice_tasks_project_id_archived_at", "project_id", "archived_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    kind: Mapped[str] = mapped_column(String(10))
    messages: Mapped[list[Any]]
    left_text: Mapped[str]  # a rating's only answer
    right_text: Mapped[str | None]
    choice: Mapped[str | None] = mapped_column(String(10))
    overall: Mapped[int | None]
    explanation: Mapped[str]  # markdown
    created_by: Mapped[int | None] = key("users.id", index=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    archived_at: Mapped[datetime | None]


class PracticeVerdict(Base):
    """What somebody said to a practice task. An attempt asks each task once."""

    __tablename__ = "practice_verdicts"
    __table_args__ = (
        UniqueConstraint("annotator_id", "task_id", "attempt"),
        one_of("choice", "left", "right", "tie", "both_bad"),
        CheckConstraint("overall BETWEEN 1 AND 5", name="overall_1_to_5"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id")
    task_id: Mapped[int] = key("practice_tasks.id")
    annotator_id: Mapped[int] = key("users.id", index=False)
    attempt: Mapped[int]
    choice: Mapped[str | None] = mapped_column(String(10))
    overall: Mapped[int | None]
    is_right: Mapped[bool]  # by the answer known at that time
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
