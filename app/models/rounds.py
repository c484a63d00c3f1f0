"""Rounds, the runs and checkpoints they are made of, the workers that do them, and what models wrote."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, SaidShort, key, one_of, utc_now
from trainer.contract.messages import Message


class Checkpoint(Base):
    """Weights with a lineage. A project's base model is its first policy checkpoint: no parent, no run."""

    __tablename__ = "checkpoints"
    __table_args__ = (one_of("kind", "policy", "reward"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id")
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[Message] = mapped_column(SaidShort)
    parent_id: Mapped[int | None] = key("checkpoints.id")
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="RESTRICT", use_alter=True), index=True)
    source: Mapped[str]  # a model spec the trainer opens
    digest: Mapped[str | None] = mapped_column(String(64))  # of the manifest
    label_digest: Mapped[str | None] = mapped_column(String(64))
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    promoted_at: Mapped[datetime | None]
    promoted_by: Mapped[int | None] = key("users.id")
    promotion_reason: Mapped[str] = mapped_column(default="")  # what whoever promoted it last wrote
    pruned_at: Mapped[datetime | None]  # its weights were folded away; figures, lineage and manifest stay


class Run(Base):
    __tablename__ = "runs"
    __table_args__ = (
        one_of("kind", "sample", "ask", "reward", "ppo", "preference", "sft"),
        one_of("state", "queued", "running", "done", "failed", "cancelled"),
        UniqueConstraint("retry_of_id"),
        Index("ix_runs_state", "state", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id")
    round_id: Mapped[int | None] = mapped_column(ForeignKey("rounds.id", ondelete="RESTRICT", use_alter=True), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(10), default="queued")
    config: Mapped[dict[str, Any]]  # every field of trainer.config
    inputs: Mapped[dict[str, Any]] = mapped_column(
        default=dict
    )  # {"checkpoint": id, "split": "train", "prompt_ids": [...], "reward": id, ...}
    retry_of_id: Mapped[int | None] = key("runs.id", index=False)  # the failed run that this one does again
    label_digest: Mapped[str | None] = mapped_column(String(64))  # of the frozen labels it learned from
    label_count: Mapped[int | None]
    step: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    message: Mapped[Message | None] = mapped_column(nullable=False)  # what it is doing, or why it ended
    eta_s: Mapped[float | None]
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    owner: Mapped[str | None] = mapped_column(String(100))  # the worker that holds it
    fence: Mapped[int] = mapped_column(default=0)  # rises with every claim; a write with an older one is refused
    attempts: Mapped[int] = mapped_column(default=0)
    heartbeat_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    created_by: Mapped[int | None] = key("users.id")
    queued_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


_OPEN = text("state IN ('reward', 'ppo', 'sample', 'evaluation', 'decision')")


class Round(Base):
    __tablename__ = "rounds"
    __table_args__ = (
        UniqueConstraint("project_id", "number"),
        one_of("state", "reward", "ppo", "sample", "evaluation", "decision", "done", "refused", "failed", "cancelled"),
        one_of("decision", "promoted", "rejected"),
        Index("uq_rounds_open", "project_id", unique=True, postgresql_where=_OPEN, sqlite_where=_OPEN),  # one at a time
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    number: Mapped[int]
    state: Mapped[str] = mapped_column(
        String(10), default="reward"
    )  # its stage; `evaluation`: people judge; `decision`: an admin is to
    trigger: Mapped[str] = mapped_column(String(10))  # admin, labels, hours
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)  # {"reward": {...}, "ppo": {...}, "sample": {...}}
    label_count: Mapped[int]
    start_policy_id: Mapped[int] = key("checkpoints.id")
    reward_id: Mapped[int | None] = key("checkpoints.id")
    candidate_id: Mapped[int | None] = key("checkpoints.id")  # of several the first, until one is promoted
    reason: Mapped[Message | None] = mapped_column(nullable=False)  # why it was refused, failed or decided so
    decision: Mapped[str | None] = mapped_column(String(10))
    decided_by: Mapped[int | None] = key("users.id")
    decided_at: Mapped[datetime | None]
    created_by: Mapped[int | None] = key("users.id")
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    ended_at: Mapped[datetime | None]

    @property
    def methods(self) -> tuple[str, ...]:
        """What trains the policy, kinds of runs: each in its turn, each for a candidate of its own."""
        return tuple(self.config.get("methods") or ("ppo",))


class Worker(Base):
    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    heartbeat_at: Mapped[datetime] = mapped_column(default=utc_now)
    message: Mapped[Message | None] = mapped_column(nullable=False)


_WITHOUT_RUN = text("run_id IS NULL")


class Generation(Base):
    """One answer. Of a model that is not ours neither tokens nor seed are known, and none of our checkpoints wrote it."""

    __tablename__ = "generations"
    __table_args__ = (
        UniqueConstraint("run_id", "prompt_id", "number"),
        one_of("finish_reason", "eos", "length"),
        CheckConstraint("(checkpoint_id IS NULL) = (token_ids IS NULL)", name="ours_have_token_ids"),
        CheckConstraint("checkpoint_id IS NULL OR seed IS NOT NULL", name="ours_have_seeds"),
        Index("ix_generations_prompt_id_checkpoint_id", "prompt_id", "checkpoint_id"),
        Index("ix_generations_contender_id_prompt_id", "contender_id", "prompt_id"),
        Index(
            "uq_generations_without_run",
            *("contender_id", "prompt_id", "number"),
            unique=True,
            postgresql_where=_WITHOUT_RUN,
            sqlite_where=_WITHOUT_RUN,
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[int] = key("prompts.id", index=False)
    contender_id: Mapped[int] = key("contenders.id", index=False)
    checkpoint_id: Mapped[int | None] = key("checkpoints.id")  # the contender's, where it has one
    run_id: Mapped[int | None] = key("runs.id", index=False)  # none: it was brought in, or said in a talk
    number: Mapped[int]  # 0, 1, ... among the run's answers to this prompt, or the contender's where there is no run
    settings: Mapped[dict[str, Any]]  # the sampling; of a best of n also best_of, reward (a checkpoint), score, mean_score
    seed: Mapped[int | None]
    text: Mapped[str]
    token_ids: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    finish_reason: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Drawn(NamedTuple):
    """How answers were come by: each as it was drawn, or as the one of n that a reward model scored highest.

    Two policies are compared by answers that were come by alike, or what was compared is how.
    """

    best_of: int = 1
    reward_id: int | None = None


ALONE: Final = Drawn()


def drawn(settings: Mapping[str, Any]) -> Drawn:
    """How an answer with these settings was come by."""
    best_of = int(settings.get("best_of", 1))
    return Drawn(best_of, settings.get("reward")) if best_of > 1 else ALONE


def drawn_alone(generation: type[Generation] = Generation) -> ColumnElement[bool]:
    """Whether a generation is what its policy said when it was asked once: a sample of that policy."""
    return func.coalesce(generation.settings["best_of"].as_integer(), 1) == 1
