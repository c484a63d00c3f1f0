"""What judges the judges: known answers, tasks that look after people, tasks on which people differ, whose labels train nothing,
and what was counted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, key, one_of, utc_now


class Gold(Base):
    """A question with a known answer, asked silently among real tasks. Not practice, which explains and comes before work."""

    __tablename__ = "golds"
    __table_args__ = (
        UniqueConstraint("source_task_id"),
        one_of("choice", "first", "second", "tie", "both_bad"),
        CheckConstraint("overall BETWEEN 1 AND 5", name="overall_1_to_5"),
        CheckConstraint("(choice IS NULL) = (second_generation_id IS NULL)", name="comparison_has_choice"),
        CheckConstraint("(overall IS NULL) = (second_generation_id IS NOT NULL)", name="rating_has_overall"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id")
    prompt_id: Mapped[int] = key("prompts.id")
    first_generation_id: Mapped[int] = key("generations.id")
    second_generation_id: Mapped[int | None] = key("generations.id")
    choice: Mapped[str | None] = mapped_column(String(10))
    overall: Mapped[int | None]
    source_task_id: Mapped[int | None] = key("tasks.id", index=False)  # where people agreed on it; none: somebody wrote it
    created_by: Mapped[int | None] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    retired_at: Mapped[datetime | None]  # asked no more; what was said to it still counts


class Check(Base):
    """A task that looks after one person: it asks them something again, or something whose answer is known."""

    __tablename__ = "checks"
    __table_args__ = (
        UniqueConstraint("task_id"),
        UniqueConstraint("annotator_id", "repeats_id"),
        UniqueConstraint("annotator_id", "gold_id"),
        CheckConstraint("(repeats_id IS NULL) <> (gold_id IS NULL)", name="repeat_or_gold"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id")
    task_id: Mapped[int] = key("tasks.id", index=False)
    annotator_id: Mapped[int] = key("users.id", index=False)
    repeats_id: Mapped[int | None] = key("tasks.id")  # the task they had answered
    gold_id: Mapped[int | None] = key("golds.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Dispute(Base):
    """A task on which people differ so much that no verdict has more than half: somebody else is asked, then a reviewer."""

    __tablename__ = "disputes"
    __table_args__ = (
        UniqueConstraint("task_id"),
        one_of("state", "asking", "open", "doubted", "settled", "closed"),
        CheckConstraint("(state = 'settled') = (settled_by IS NOT NULL)", name="settled_by_somebody"),
        Index("ix_disputes_state", "project_id", "state", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    task_id: Mapped[int] = key("tasks.id", index=False)
    # asking: another person is asked; open: a reviewer is; doubted: verdicts were sent back; closed: people agree by now
    state: Mapped[str] = mapped_column(String(10))
    seats_added: Mapped[int] = mapped_column(default=0)
    settled_by: Mapped[int | None] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    settled_at: Mapped[datetime | None]


_OPEN = text("closed_at IS NULL")


class Doubt(Base):
    """A verdict that a reviewer sent back to its person, with a comment; they correct it, or answer."""

    __tablename__ = "doubts"
    __table_args__ = (
        UniqueConstraint("label_id"),
        CheckConstraint("answer = '' OR closed_at IS NOT NULL", name="answered_is_closed"),
        Index("ix_doubts_open", "annotator_id", "project_id", postgresql_where=_OPEN, sqlite_where=_OPEN),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id")
    dispute_id: Mapped[int] = key("disputes.id")
    label_id: Mapped[int] = key("labels.id", index=False)  # the version that it is about
    annotator_id: Mapped[int] = key("users.id", index=False)  # whose that is
    comment: Mapped[str]
    answer: Mapped[str] = mapped_column(default="")
    created_by: Mapped[int] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    closed_at: Mapped[datetime | None]  # answered, or another version came


class Exclusion(Base):
    """A person whose labels train nothing in this project: they stay, and count again once this row is gone."""

    __tablename__ = "exclusions"
    __table_args__ = (UniqueConstraint("project_id", "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    user_id: Mapped[int] = key("users.id")
    reason: Mapped[str] = mapped_column(default="")
    created_by: Mapped[int | None] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class JudgesReport(Base):
    """What was counted of a large project's labels, so that no page counts them. It can be thrown away."""

    __tablename__ = "judges_reports"
    __table_args__ = (UniqueConstraint("project_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    label_id: Mapped[int]  # counted up to here
    counted_at: Mapped[datetime]
    figures: Mapped[dict[str, Any]]  # app.quality.report.Report
