"""Projects: their rules, guidelines and prompts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, validates

from app.models.base import Base, key, one_of, utc_now
from app.models.criteria import default_flags
from app.models.values import name_digest


def _nothing_retired() -> dict[str, Any]:
    return {"criteria": [], "flags": [], "rubric": [], "span_reasons": []}


def _own_base_model(context: Any) -> str | None:
    """A new project has no counts of another model."""
    own: str | None = context.get_current_parameters()["base_model"]
    return own


class Project(Base):
    __tablename__ = "projects"
    __table_args__ = (one_of("text_display", "written", "markdown"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(80), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    name_digest: Mapped[str] = mapped_column(String(64), unique=True)  # follows the name: two projects may not have one
    base_model: Mapped[str]  # a model spec: folder, hub id, .gguf path
    counts_of: Mapped[str | None] = mapped_column(default=_own_base_model)  # the one by which its prompts' tokens were counted
    guideline_version: Mapped[int] = mapped_column(default=1)
    criteria: Mapped[list[Any]]  # [{"key", "name", "description", "anchors": {"1": "...", "5": "..."}}]
    flags: Mapped[list[Any]] = mapped_column(default=default_flags)  # app.models.criteria.Flag
    rubric: Mapped[list[Any]] = mapped_column(default=list)  # app.models.criteria.RubricItem
    span_reasons: Mapped[list[Any]] = mapped_column(default=list)  # app.models.criteria.SpanReason; none: nothing is marked
    retired: Mapped[dict[str, Any]] = mapped_column(
        default=_nothing_retired
    )  # what was once in use of these four: labels refer to them by key, and a late verdict may still name one
    text_display: Mapped[str] = mapped_column(String(10), default="written")  # how a model's text is shown
    overlap: Mapped[int] = mapped_column(default=1)  # seats of a task
    extra_seats: Mapped[int] = mapped_column(default=1)  # further people asked where those differ, before a reviewer is
    rating_share: Mapped[float] = mapped_column(default=0.25)  # share of tasks that are ratings
    ranking_share: Mapped[float] = mapped_column(default=0.0)  # and that are rankings
    ranking_answers: Mapped[int] = mapped_column(default=4)  # that are put in order, while there is such a share
    sampling: Mapped[dict[str, Any]]  # trainer.contract.config.SampleConfig values
    training: Mapped[dict[str, Any]] = mapped_column(default=dict)  # {"reward": {...}, "ppo": {...}} overrides for rounds
    practice_tasks: Mapped[int] = mapped_column(default=0)  # how many a new annotator meets before real ones; 0: none
    qualifying_score: Mapped[float] = mapped_column(default=0.0)  # share of them that must be right before real tasks open
    queue_low_mark: Mapped[int] = mapped_column(default=20)  # open tasks under which the queue refills itself
    trigger_labels: Mapped[int | None]  # a round starts every so many new labels
    trigger_hours: Mapped[float | None]  # and/or every so many hours
    triggers_on: Mapped[bool] = mapped_column(default=False)
    paused_at: Mapped[datetime | None]  # no round starts by itself, whatever the triggers say
    month_labels: Mapped[int | None]  # of which, once given in a month, people are asked no more and no round starts by itself
    month_evaluation_labels: Mapped[int | None]  # likewise, of verdicts in evaluations
    month_hours: Mapped[float | None]  # of training in a month; then no round starts by itself
    hours_budget: Mapped[float | None]  # of people in a month; then nobody is given a new task until the next
    hours_worked: Mapped[float | None]  # of it, in the month in which that was counted
    hours_counted_at: Mapped[datetime | None]
    closed_until: Mapped[datetime | None]  # nobody is given a new task before: the hours are used
    keep_days: Mapped[int | None]  # after which weights and states go that nothing refers to; none: kept for ever
    evaluation_on: Mapped[bool] = mapped_column(default=False)  # people judge a round's candidates blind before one is promoted
    evaluation_share: Mapped[float] = mapped_column(default=0.3)  # of the tasks that are served, while an evaluation is open
    evaluation_budget: Mapped[int] = mapped_column(default=400)  # verdicts on each candidate; then it is rejected
    evaluation_flag_margin: Mapped[float] = mapped_column(default=0.1)  # by which no flag may be set more often
    evaluation_promotes: Mapped[bool] = mapped_column(default=False)  # what people decided is done; else an admin is asked
    chat_on: Mapped[bool] = mapped_column(default=False)  # annotators may talk to the policy, and judge what it says
    repeat_share: Mapped[float] = mapped_column(default=0.03)  # of a person's tasks that come back to them
    gold_share: Mapped[float] = mapped_column(default=0.05)  # of them whose answer is known, while there are such
    gold_pauses: Mapped[bool] = mapped_column(default=True)  # who misses too many is asked nothing further
    policy_id: Mapped[int | None] = mapped_column(
        ForeignKey("checkpoints.id", ondelete="RESTRICT", use_alter=True)
    )  # the promoted one
    previous_policy_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoints.id", ondelete="RESTRICT", use_alter=True))
    audiences: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))  # that its prompts have; none: all are for all
    questions_due_at: Mapped[datetime | None]  # since when there may be answers to ask about; none: all that can be is asked
    questions_place: Mapped[int] = mapped_column(BigInteger, default=0)  # what is added to the places of those questions' seats
    sampling_changed_at: Mapped[datetime | None]  # the base model or how it answers: failures before that tell nothing
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    archived_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]  # its rows are being taken out; this one stays, so that its id is never another's

    @validates("name")
    def _digest_name(self, column: str, name: str) -> str:
        self.name_digest = name_digest(name)
        return name


class Guideline(Base):
    __tablename__ = "guidelines"
    __table_args__ = (UniqueConstraint("project_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    version: Mapped[int]
    text: Mapped[str]  # markdown
    created_by: Mapped[int | None] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


_UNCOUNTED = text("tokens IS NULL")
_A_TWIN = text("twin_id IS NOT NULL")
_FOR_SOME = text("audience IS NOT NULL")


class Prompt(Base):
    __tablename__ = "prompts"
    __table_args__ = (
        UniqueConstraint("project_id", "digest"),
        one_of("split", "train", "holdout"),
        Index("ix_prompts_project_id_split", "project_id", "split", "archived_at", "id", "tokens"),
        Index("ix_prompts_project_id_archived_at", "project_id", "archived_at", "id"),
        Index("ix_prompts_project_id_external_id", "project_id", "external_id", "archived_at", "id"),
        Index("ix_prompts_audience", "project_id", "audience", postgresql_where=_FOR_SOME, sqlite_where=_FOR_SOME),
        Index("ix_prompts_twin_id", "project_id", "twin_id", postgresql_where=_A_TWIN, sqlite_where=_A_TWIN),
        Index("ix_prompts_uncounted", "project_id", "id", postgresql_where=_UNCOUNTED, sqlite_where=_UNCOUNTED),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id", index=False)
    messages: Mapped[list[Any]]  # [{"role": "user", "content": "..."}]
    digest: Mapped[str] = mapped_column(String(64))  # of the normalised messages: the same prompt twice is one prompt
    split: Mapped[str] = mapped_column(String(10))
    external_id: Mapped[str | None] = mapped_column(String(200))
    extra: Mapped[dict[str, Any]] = mapped_column(default=dict)  # what else its owner said of it; given back in exports
    language: Mapped[str | None] = mapped_column(String(35))  # a tag of BCP 47
    tags: Mapped[list[Any]] = mapped_column(default=list)  # to find it by
    skills: Mapped[list[Any]] = mapped_column(default=list)  # that whoever is asked about it needs
    audience: Mapped[str | None] = mapped_column(String(500))  # language and skills in one word (app.assignment.audiences)
    sketch: Mapped[bytes | None]  # by which near-twins are found (app.prompts.twins.sketch); none: not looked at yet
    twin_id: Mapped[int | None]  # an earlier prompt of its project that says nearly the same; no key: both end with the project
    tokens: Mapped[int | None]  # that the base model reads of it; 0: its chat template refuses it; none: not counted yet
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    archived_at: Mapped[datetime | None]
