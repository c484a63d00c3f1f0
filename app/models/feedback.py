"""What comes back from use: answers that were kept because their caller asked for it, and what was said of answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, key, one_of, utc_now


class KeptAnswer(Base):
    """One answer of a chat completion whose caller said `store`."""

    __tablename__ = "kept_answers"
    __table_args__ = (UniqueConstraint("completion_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id")
    policy_id: Mapped[int] = key("checkpoints.id")
    completion_id: Mapped[str] = mapped_column(String(60))
    number: Mapped[int]  # 0, 1, ... among the completion's choices
    messages: Mapped[list[Any]]
    text: Mapped[str]
    token_ids: Mapped[list[Any]]
    settings: Mapped[dict[str, Any]]  # the sampling
    seed: Mapped[int]
    finish_reason: Mapped[str] = mapped_column(String(10))
    kept_by: Mapped[int] = key("users.id")
    kept_at: Mapped[datetime] = mapped_column(default=utc_now)


_WAITING = text("decided_at IS NULL AND withdrawn_at IS NULL")


class Feedback(Base):
    """A thumb, and what an answer should have been. It is no label: an admin lets it in, and then there is one of it.

    Of somebody who did not agree to it being used there is the thumb alone.
    """

    __tablename__ = "feedback"
    __table_args__ = (
        UniqueConstraint("client_id"),
        UniqueConstraint("label_id"),
        one_of("thumb", "up", "down"),
        CheckConstraint("(decided_at IS NULL) = (accepted IS NULL)", name="decided_either_way"),
        CheckConstraint("consent OR (messages IS NULL AND text IS NULL AND correction IS NULL)", name="texts_need_consent"),
        CheckConstraint("label_id IS NULL OR (consent AND accepted)", name="labels_were_let_in"),
        Index("ix_feedback_waiting", "project_id", "id", postgresql_where=_WAITING, sqlite_where=_WAITING),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id")
    given_by: Mapped[int] = key("users.id")  # whose key it came with
    client_id: Mapped[str] = mapped_column(String(36))
    payload_hash: Mapped[str] = mapped_column(String(64))
    policy_id: Mapped[int] = key("checkpoints.id")  # that answered
    answer_id: Mapped[int | None] = key("kept_answers.id")  # none: the text was sent along
    thumb: Mapped[str] = mapped_column(String(10))
    consent: Mapped[bool]
    messages: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    text: Mapped[str | None]
    correction: Mapped[str | None]
    comment: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    withdrawn_at: Mapped[datetime | None]
    accepted: Mapped[bool | None]
    decided_by: Mapped[int | None] = key("users.id")
    decided_at: Mapped[datetime | None]
    label_id: Mapped[int | None] = key("labels.id", index=False)
