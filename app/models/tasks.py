"""Questions to people, and their answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Index,
    String,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, key, one_of, utc_now


class Task(Base):
    __tablename__ = "tasks"
    __table_args__ = (
        one_of("kind", "comparison", "rating", "ranking"),
        one_of("purpose", "train", "gold", "repeat", "evaluation"),
        one_of("served_reason", "random", "uncertain", "gold", "repeat", "evaluation", "chat", "feedback"),
        CheckConstraint("(kind = 'comparison') = (second_generation_id IS NOT NULL)", name="comparison_has_two"),
        CheckConstraint("second_generation_id <> first_generation_id", name="generations_differ"),
        CheckConstraint("kind <> 'ranking' OR purpose = 'train'", name="rankings_train"),
        Index("ix_tasks_project_id_purpose", "project_id", "purpose", "id"),
        Index("ix_tasks_disputed", "project_id", "id", postgresql_where=text("disputed"), sqlite_where=text("disputed = 1")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    prompt_id: Mapped[int] = key("prompts.id")
    kind: Mapped[str] = mapped_column(String(10))
    purpose: Mapped[str] = mapped_column(String(10), default="train")
    first_generation_id: Mapped[int] = key("generations.id")  # of a ranking: the first of its `RankedAnswer`s
    second_generation_id: Mapped[int | None] = key("generations.id")
    served_reason: Mapped[str] = mapped_column(String(10), default="random")
    reward_checkpoint_id: Mapped[int | None] = key("checkpoints.id")
    disputed: Mapped[bool] = mapped_column(default=False)  # verdicts in force say different things; the one field that changes
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class RankedAnswer(Base):
    """One of the answers that a ranking is of. Each person sees them in an order of their own."""

    __tablename__ = "ranked_answers"
    __table_args__ = (
        UniqueConstraint("task_id", "number"),
        UniqueConstraint("task_id", "generation_id"),
        CheckConstraint("number BETWEEN 1 AND 6", name="six_at_most"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = key("tasks.id", index=False)
    number: Mapped[int]  # from 1
    generation_id: Mapped[int] = key("generations.id")


_RESERVED = text("reserved_for IS NOT NULL")
NEXT_PLACE = literal_column("(SELECT coalesce(max(id), 0) + 1 FROM seats)", BigInteger())  # behind all: what its id will be


class Seat(Base):
    """One place for one annotator on one task. `project_id` is repeated here so that claiming reads one index."""

    __tablename__ = "seats"
    __table_args__ = (
        UniqueConstraint("task_id", "number"),
        UniqueConstraint("task_id", "annotator_id"),
        one_of("state", "free", "leased", "done"),
        CheckConstraint("(state = 'free') = (annotator_id IS NULL)", name="taken_seats_have_annotators"),
        Index("ix_seats_queue", "project_id", "state", "place", "id"),
        Index("ix_seats_annotator_id", "annotator_id", "project_id", "state", "claimed_at"),
        Index("ix_seats_reserved_for", "reserved_for", postgresql_where=_RESERVED, sqlite_where=_RESERVED),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    task_id: Mapped[int] = key("tasks.id", index=False)
    number: Mapped[int]
    place: Mapped[int] = mapped_column(BigInteger, default=NEXT_PLACE)  # in the queue: lower ones are claimed first
    state: Mapped[str] = mapped_column(String(10), default="free")
    annotator_id: Mapped[int | None] = key("users.id", index=False)
    reserved_for: Mapped[int | None] = key("users.id", index=False)  # nobody else may take it
    swapped: Mapped[bool] = mapped_column(default=False)  # True: the second generation stands left
    claimed_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]


class Skip(Base):
    """A task this person passed over: it is not served to them again by itself, though they may open it and answer after all."""

    __tablename__ = "skips"
    __table_args__ = (UniqueConstraint("task_id", "annotator_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = key("tasks.id", index=False)
    annotator_id: Mapped[int] = key("users.id")
    reason: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


_REWRITTEN = text("rewrite IS NOT NULL")
_FIRST = text("version = 1")


class Label(Base):
    """One verdict. Immutable: a correction is a new version that supersedes the one before.

    A withdrawal is a version, too: it repeats what it takes back, and none of the versions is in force.
    """

    __tablename__ = "labels"
    __table_args__ = (
        UniqueConstraint("task_id", "annotator_id", "version"),
        UniqueConstraint("client_id"),
        UniqueConstraint("supersedes_id"),
        one_of("kind", "comparison", "rating", "ranking"),
        one_of("choice", "left", "right", "tie", "both_bad"),
        CheckConstraint("strength BETWEEN 1 AND 3", name="strength_1_to_3"),
        CheckConstraint("overall BETWEEN 1 AND 5", name="overall_1_to_5"),
        CheckConstraint("(kind = 'comparison') = (choice IS NOT NULL)", name="comparison_has_choice"),
        CheckConstraint("(kind = 'rating') = (overall IS NOT NULL)", name="rating_has_overall"),
        CheckConstraint("(kind = 'ranking') = (ranking IS NOT NULL)", name="ranking_has_order"),
        CheckConstraint("(version = 1) = (supersedes_id IS NULL)", name="later_versions_supersede"),
        CheckConstraint("NOT (withdrawn AND current)", name="withdrawn_is_not_current"),
        Index("ix_labels_project_id_current", "project_id", "current", "id"),
        Index("ix_labels_usable", "project_id", "current", "surplus", "trains", "overruled", "annotator_id"),
        Index("ix_labels_rewritten", "project_id", postgresql_where=_REWRITTEN, sqlite_where=_REWRITTEN),
        Index("ix_labels_first", "project_id", "created_at", postgresql_where=_FIRST, sqlite_where=_FIRST),
        Index("ix_labels_annotator_id", "annotator_id", "id"),
        Index("ix_labels_annotator_id_created_at", "annotator_id", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    task_id: Mapped[int] = key("tasks.id", index=False)
    seat_id: Mapped[int | None] = key("seats.id")  # none: the lease was lost and the seat went to another; kept as surplus
    annotator_id: Mapped[int] = key("users.id", index=False)
    version: Mapped[int] = mapped_column(default=1)
    supersedes_id: Mapped[int | None] = key("labels.id", index=False)
    current: Mapped[bool] = mapped_column(
        default=True
    )  # in force: no later version, not withdrawn; it changes, as one other does
    withdrawn: Mapped[bool] = mapped_column(default=False)  # this version takes the verdict back
    surplus: Mapped[bool] = mapped_column(default=False)  # arrived after its lease was given to someone else
    trains: Mapped[bool] = mapped_column(default=True)  # asked for training, about a prompt of the train split
    overruled: Mapped[bool] = mapped_column(default=False)  # a reviewer settled its task: theirs trains instead
    client_id: Mapped[str] = mapped_column(String(36))
    payload_hash: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(10))
    choice: Mapped[str | None] = mapped_column(String(10))
    strength: Mapped[int | None]
    overall: Mapped[int | None]
    # {"shown": [generation ids, as shown], "order": [[2], [1, 4]], "last": [3], "all_bad": false}, answers from 1
    ranking: Mapped[dict[str, Any] | None]
    criteria: Mapped[dict[str, Any]] = mapped_column(default=dict)
    flags: Mapped[dict[str, Any]] = mapped_column(default=dict)  # {"left": ["untrue"], "right": []} or {"response": [...]}
    # {"sourced": {"version": 2, "left": "yes", "right": "cannot_say"}} or {..., "response": "no"}; what nobody said is not there
    rubric: Mapped[dict[str, Any] | None]
    # {"reasons": {"wrong": 1}, "left": [{"start": 0, "end": 5, "reason": "wrong", "quote": "It is"}]}; none: nobody was asked to
    spans: Mapped[dict[str, Any] | None]
    rewrite: Mapped[dict[str, Any] | None]  # {"side": "left"|"right"|"response", "text": "..."}
    comment: Mapped[str] = mapped_column(default="")
    left_generation_id: Mapped[int] = key("generations.id")  # as shown; a rating's only answer, and a ranking's first, stand left
    right_generation_id: Mapped[int | None] = key("generations.id")
    guideline_version: Mapped[int]
    interface_version: Mapped[str] = mapped_column(String(40))
    wall_ms: Mapped[int | None]
    active_ms: Mapped[int | None]
    served_reason: Mapped[str] = mapped_column(String(10))
    reward_checkpoint_id: Mapped[int | None] = key("checkpoints.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
