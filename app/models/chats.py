"""Talks of people with the policy, turn by turn, and the prompts that they wrote in them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, key, utc_now


class Chat(Base):
    __tablename__ = "chats"
    __table_args__ = (
        UniqueConstraint("client_id"),
        Index("ix_chats_project_id_annotator_id", "project_id", "annotator_id", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    annotator_id: Mapped[int] = key("users.id")
    client_id: Mapped[str] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ChatTurn(Base):
    """What somebody said, the two continuations of it, and how it went on.

    Asked: no continuations yet, and whoever asks again gets those of the same seeds. Answered: both are there, and wait to be
    judged. Done: `reply` goes on as what the model said. A turn whose continuations are the same has no task: there was nothing
    to judge.
    """

    __tablename__ = "chat_turns"
    __table_args__ = (
        UniqueConstraint("chat_id", "number"),
        UniqueConstraint("client_id"),
        UniqueConstraint("task_id"),
        CheckConstraint("(left_generation_id IS NULL) = (right_generation_id IS NULL)", name="both_are_there"),
        CheckConstraint("left_generation_id IS NOT NULL OR reply IS NULL", name="answered_before_it_goes_on"),
        CheckConstraint("task_id IS NULL OR reply IS NOT NULL", name="judged_goes_on"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    chat_id: Mapped[int] = key("chats.id", index=False)
    number: Mapped[int]  # 1, 2, ... of the talk
    client_id: Mapped[str] = mapped_column(String(36))
    said: Mapped[str]
    left_policy_id: Mapped[int] = key("checkpoints.id")  # who answers at which side was drawn when it was said
    right_policy_id: Mapped[int] = key("checkpoints.id")
    left_seed: Mapped[int]
    right_seed: Mapped[int]
    left_generation_id: Mapped[int | None] = key("generations.id")
    right_generation_id: Mapped[int | None] = key("generations.id")
    task_id: Mapped[int | None] = key("tasks.id", index=False)
    reply: Mapped[str | None]
    asked_at: Mapped[datetime] = mapped_column(default=utc_now)
    answered_at: Mapped[datetime | None]


_WAITING = text("decided_at IS NULL")


class ProposedPrompt(Base):
    """A prompt that somebody wrote in a talk. It is put away, and an admin takes it into use, or leaves it."""

    __tablename__ = "proposed_prompts"
    __table_args__ = (
        UniqueConstraint("prompt_id"),
        CheckConstraint("(decided_at IS NULL) = (accepted IS NULL)", name="decided_either_way"),
        Index("ix_proposed_prompts_waiting", "project_id", "id", postgresql_where=_WAITING, sqlite_where=_WAITING),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id")
    prompt_id: Mapped[int] = key("prompts.id", index=False)
    proposed_by: Mapped[int] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    accepted: Mapped[bool | None]
    decided_by: Mapped[int | None] = key("users.id")
    decided_at: Mapped[datetime | None]
