"""What judges the judges: known answers, tasks that look after people, whose labels train nothing, and what was counted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, String, UniqueConstraint
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
