"""Talks of people with the policy, turn by turn, the prompts that they wrote in them, and what comes back from use elsewhere."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, key, one_of, utc_now


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


_UNDECIDED = text("decided_at IS NULL AND withdrawn_at IS NULL")


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
        Index("ix_feedback_waiting", "project_id", "id", postgresql_where=_UNDECIDED, sqlite_where=_UNDECIDED),
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
