"""Evaluations: candidates beside a baseline, as people judge them blind; what was asked, who rests, what came of it; a board."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, key, one_of, utc_now
from trainer.contract.messages import Message

_ROUNDS = text("round_id IS NOT NULL")
_OPEN = text("state = 'open'")
_LIVE = text("state IN ('answering', 'open')")


class Evaluation(Base):
    """`answering`: contenders write. `open`: people are asked. `decided`: people said enough, or the budget is spent."""

    __tablename__ = "evaluations"
    __table_args__ = (
        one_of("state", "answering", "open", "decided", "cancelled"),
        one_of("decision", "promoted", "rejected"),
        CheckConstraint("(state = 'decided') = (decision IS NOT NULL)", name="decided_has_a_decision"),
        CheckConstraint("(decision = 'promoted') = (winner_id IS NOT NULL)", name="promoted_has_a_winner"),
        Index("uq_evaluations_round_id", "round_id", unique=True, postgresql_where=_ROUNDS, sqlite_where=_ROUNDS),
        Index("uq_evaluations_open", "project_id", unique=True, postgresql_where=_OPEN, sqlite_where=_OPEN),  # one at a time
        Index("ix_evaluations_live", "project_id", postgresql_where=_LIVE, sqlite_where=_LIVE),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id")
    round_id: Mapped[int | None] = key("rounds.id", index=False)
    baseline_id: Mapped[int] = key("contenders.id")
    state: Mapped[str] = mapped_column(String(10), default="answering")
    budget: Mapped[int]  # verdicts on each candidate
    error: Mapped[float]
    flag_margin: Mapped[float]
    overlap: Mapped[int]  # verdicts on each pair of answers
    pairs: Mapped[int]  # of answers to each prompt, for each candidate
    prompt_ids: Mapped[list[Any]]  # held out, in the random order in which they are asked; those behind the last are never asked
    expected: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))  # app.evaluation.planning.Expected of each rate
    mixed_place: Mapped[int | None] = mapped_column(BigInteger)  # the queue is mixed with its tasks up to this seat
    mixed_seat: Mapped[int] = mapped_column(default=0)
    seen: Mapped[str] = mapped_column(String(100), default="")  # of its labels, at the last look
    decision: Mapped[str | None] = mapped_column(String(10))
    winner_id: Mapped[int | None] = key("contenders.id")
    reason: Mapped[Message | None] = mapped_column(nullable=False)
    created_by: Mapped[int | None] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    opened_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    @property
    def planned(self) -> int:
        """Prompts for each candidate."""
        return max(1, min(len(self.prompt_ids), self.budget // (self.overlap * self.pairs)))


class EvaluationCandidate(Base):
    """What people are asked to compare with the baseline. `promotable`: it may win; else it is there to be seen beside."""

    __tablename__ = "evaluation_candidates"
    __table_args__ = (UniqueConstraint("evaluation_id", "contender_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    evaluation_id: Mapped[int] = key("evaluations.id", index=False)
    contender_id: Mapped[int] = key("contenders.id")
    promotable: Mapped[bool] = mapped_column(default=True)
    standing: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # at the last look; app.evaluation.standing
    foretold: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))  # what is usual, for each prompt; frozen
    alarm: Mapped[Message | None] = mapped_column(nullable=False)  # its score rose, and people turned it down


class EvaluationTask(Base):
    """A task of an evaluation. Which of its answers is the candidate's, the task's own generations say."""

    __tablename__ = "evaluation_tasks"
    __table_args__ = (
        UniqueConstraint("task_id"),
        UniqueConstraint("candidate_id", "place", "pair"),
        CheckConstraint("predicted BETWEEN 0 AND 1", name="predicted_is_a_probability"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    candidate_id: Mapped[int] = key("evaluation_candidates.id", index=False)
    task_id: Mapped[int] = key("tasks.id", index=False)
    prompt_id: Mapped[int] = key("prompts.id")
    place: Mapped[int]  # of the prompt among `prompt_ids`
    pair: Mapped[int]  # 0, 1, ... of the prompt
    predicted: Mapped[float | None]  # that the candidate's answer wins, by the round's reward model; frozen before any verdict


class EvaluationRest(Base):
    """Somebody who is ahead of all the others in an evaluation: asked none of the project's until the others have caught up."""

    __tablename__ = "evaluation_rests"
    __table_args__ = (UniqueConstraint("project_id", "annotator_id", "evaluation_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    evaluation_id: Mapped[int] = key("evaluations.id")
    annotator_id: Mapped[int] = key("users.id")


class Leaderboard(Base):
    """What was counted of a project's labels, so that no page counts a million. One row a project; it can be thrown away."""

    __tablename__ = "leaderboards"
    __table_args__ = (UniqueConstraint("project_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    label_id: Mapped[int] = mapped_column(default=0)  # counted up to here
    counts: Mapped[dict[str, Any]] = mapped_column(
        default=dict
    )  # "contender contender longer" -> wins, ties, losses of the first
