"""Every table. The tables hold the invariants, each as a named constraint; house words only.

Relationships are not declared: services say which rows they join, so no page can query by accident.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.vocabulary import default_flags


def utc_now() -> datetime:
    return datetime.now(UTC)


class Utc(TypeDecorator[datetime]):
    """Aware UTC in and out; a naive datetime is refused. SQLite stores no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Utc, dict[str, Any]: JSON(none_as_null=True), list[Any]: JSON, str: Text}


def _key(target: str, *, index: bool = True) -> Any:
    """A foreign key that refuses to orphan: rows others point to are never deleted."""
    return mapped_column(ForeignKey(target, ondelete="RESTRICT"), index=index)


def _one_of(column: str, *values: str) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=f"{column}_known")


# People


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)  # stored casefolded
    name: Mapped[str] = mapped_column(String(200))
    password_hash: Mapped[str | None]
    is_owner: Mapped[bool] = mapped_column(default=False)
    language: Mapped[str | None] = mapped_column(String(20))  # a tag of app.languages; None: what the browser asks for
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    disabled_at: Mapped[datetime | None]


class Membership(Base):
    __tablename__ = "memberships"
    __table_args__ = (UniqueConstraint("user_id", "project_id"), _one_of("role", "annotator", "reviewer", "admin"))

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = _key("users.id")
    project_id: Mapped[int] = _key("projects.id")
    role: Mapped[str] = mapped_column(String(20))
    seen_guideline_version: Mapped[int | None]  # the newest this person was told about; none: they began with the one in force
    practised_at: Mapped[datetime | None]  # real tasks are open from then on, where the project asks for practice
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class SignInSession(Base):
    """A signed-in browser. Only the hash of its 256-bit id is kept."""

    __tablename__ = "sessions"

    id_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = _key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    last_seen_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    user_agent: Mapped[str] = mapped_column(String(300), default="")


class ApiKey(Base):
    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = _key("users.id")
    name: Mapped[str] = mapped_column(String(200), default="")
    secret_hash: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Invitation(Base):
    """A single-use link with a fixed role. The owner's first link has role `owner` and no project."""

    __tablename__ = "invitations"
    __table_args__ = (_one_of("role", "owner", "annotator", "reviewer", "admin"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    project_id: Mapped[int | None] = _key("projects.id")
    created_by: Mapped[int | None] = _key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    used_by: Mapped[int | None] = _key("users.id")
    revoked_at: Mapped[datetime | None]


class AuditEntry(Base):
    """Who did what; append-only."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    actor_id: Mapped[int | None] = _key("users.id")
    project_id: Mapped[int | None] = _key("projects.id")
    action: Mapped[str] = mapped_column(String(100))
    subject: Mapped[str] = mapped_column(String(200), default="")
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)


# Projects


def _nothing_retired() -> dict[str, Any]:
    return {"criteria": [], "flags": []}


class Project(Base):
    __tablename__ = "projects"
    __table_args__ = (_one_of("text_display", "written", "markdown"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(80), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    base_model: Mapped[str]  # a model spec: folder, hub id, .gguf path
    guideline_version: Mapped[int] = mapped_column(default=1)
    criteria: Mapped[list[Any]]  # [{"key", "name", "description", "anchors": {"1": "...", "5": "..."}}]
    flags: Mapped[list[Any]] = mapped_column(default=default_flags)  # app.vocabulary.Flag
    retired: Mapped[dict[str, Any]] = mapped_column(
        default=_nothing_retired
    )  # criteria and flags once in use: labels refer to them by key, and a late verdict may still name one
    text_display: Mapped[str] = mapped_column(String(10), default="written")  # how a model's text is shown
    overlap: Mapped[int] = mapped_column(default=1)  # seats of a task
    rating_share: Mapped[float] = mapped_column(default=0.25)  # share of tasks that are ratings
    sampling: Mapped[dict[str, Any]]  # trainer.config.SampleConfig values
    training: Mapped[dict[str, Any]] = mapped_column(default=dict)  # {"reward": {...}, "ppo": {...}} overrides for rounds
    practice_tasks: Mapped[int] = mapped_column(default=0)  # how many a new annotator meets before real ones; 0: none
    qualifying_score: Mapped[float] = mapped_column(default=0.0)  # share of them that must be right before real tasks open
    queue_low_mark: Mapped[int] = mapped_column(default=20)  # open tasks under which the queue refills itself
    trigger_labels: Mapped[int | None]  # a round starts every so many new labels
    trigger_hours: Mapped[float | None]  # and/or every so many hours
    triggers_on: Mapped[bool] = mapped_column(default=False)
    policy_id: Mapped[int | None] = mapped_column(
        ForeignKey("checkpoints.id", ondelete="RESTRICT", use_alter=True)
    )  # the promoted one
    previous_policy_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoints.id", ondelete="RESTRICT", use_alter=True))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Guideline(Base):
    __tablename__ = "guidelines"
    __table_args__ = (UniqueConstraint("project_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = _key("projects.id", index=False)
    version: Mapped[int]
    text: Mapped[str]  # markdown
    created_by: Mapped[int | None] = _key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Prompt(Base):
    __tablename__ = "prompts"
    __table_args__ = (
        UniqueConstraint("project_id", "digest"),
        _one_of("split", "train", "holdout"),
        Index("ix_prompts_project_id_split", "project_id", "split", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = _key("projects.id", index=False)
    messages: Mapped[list[Any]]  # [{"role": "user", "content": "..."}]
    digest: Mapped[str] = mapped_column(String(64))  # of the normalised messages: the same prompt twice is one prompt
    split: Mapped[str] = mapped_column(String(10))
    external_id: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    archived_at: Mapped[datetime | None]


# Models and what they wrote


class Checkpoint(Base):
    """Weights with a lineage. A project's base model is its first policy checkpoint: no parent, no run."""

    __tablename__ = "checkpoints"
    __table_args__ = (_one_of("kind", "policy", "reward"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = _key("projects.id")
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(String(200))
    parent_id: Mapped[int | None] = _key("checkpoints.id")
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="RESTRICT", use_alter=True), index=True)
    source: Mapped[str]  # a model spec the trainer opens
    digest: Mapped[str | None] = mapped_column(String(64))  # of the manifest
    label_digest: Mapped[str | None] = mapped_column(String(64))
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    promoted_at: Mapped[datetime | None]
    promoted_by: Mapped[int | None] = _key("users.id")


class Run(Base):
    __tablename__ = "runs"
    __table_args__ = (
        _one_of("kind", "sample", "reward", "ppo", "sft"),
        _one_of("state", "queued", "running", "done", "failed", "cancelled"),
        Index("ix_runs_state", "state", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = _key("projects.id")
    round_id: Mapped[int | None] = mapped_column(ForeignKey("rounds.id", ondelete="RESTRICT", use_alter=True), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(10), default="queued")
    config: Mapped[dict[str, Any]]  # every field of trainer.config
    inputs: Mapped[dict[str, Any]] = mapped_column(
        default=dict
    )  # {"checkpoint": id, "split": "train", "prompt_ids": [...], "reward": id, ...}
    label_digest: Mapped[str | None] = mapped_column(String(64))  # of the frozen labels it learned from
    label_count: Mapped[int | None]
    step: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    message: Mapped[str] = mapped_column(default="")  # what it is doing, or why it ended
    eta_s: Mapped[float | None]
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    owner: Mapped[str | None] = mapped_column(String(100))  # the worker that holds it
    fence: Mapped[int] = mapped_column(default=0)  # rises with every claim; a write with an older one is refused
    attempts: Mapped[int] = mapped_column(default=0)
    heartbeat_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    created_by: Mapped[int | None] = _key("users.id")
    queued_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class Round(Base):
    __tablename__ = "rounds"
    __table_args__ = (
        UniqueConstraint("project_id", "number"),
        _one_of("state", "reward", "ppo", "sample", "decision", "done", "refused", "failed", "cancelled"),
        _one_of("decision", "promoted", "rejected"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = _key("projects.id", index=False)
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(10), default="reward")  # the stage it is in; `decision` waits for an admin
    trigger: Mapped[str] = mapped_column(String(10))  # admin, labels, hours
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)  # {"reward": {...}, "ppo": {...}, "sample": {...}}
    label_count: Mapped[int]
    start_policy_id: Mapped[int] = _key("checkpoints.id")
    reward_id: Mapped[int | None] = _key("checkpoints.id")
    candidate_id: Mapped[int | None] = _key("checkpoints.id")
    reason: Mapped[str] = mapped_column(default="")  # why it was refused, failed or decided so
    decision: Mapped[str | None] = mapped_column(String(10))
    decided_by: Mapped[int | None] = _key("users.id")
    decided_at: Mapped[datetime | None]
    created_by: Mapped[int | None] = _key("users.id")
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    ended_at: Mapped[datetime | None]


class Worker(Base):
    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    heartbeat_at: Mapped[datetime] = mapped_column(default=utc_now)
    message: Mapped[str] = mapped_column(default="")


class Generation(Base):
    __tablename__ = "generations"
    __table_args__ = (
        UniqueConstraint("run_id", "prompt_id", "number"),
        _one_of("finish_reason", "eos", "length"),
        Index("ix_generations_prompt_id_checkpoint_id", "prompt_id", "checkpoint_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[int] = _key("prompts.id", index=False)
    checkpoint_id: Mapped[int] = _key("checkpoints.id")
    run_id: Mapped[int] = _key("runs.id", index=False)
    number: Mapped[int]  # 0, 1, ... among the run's answers to this prompt
    settings: Mapped[dict[str, Any]]
    seed: Mapped[int]
    text: Mapped[str]
    token_ids: Mapped[list[Any]]
    finish_reason: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


# Questions to people, and their answers


class Task(Base):
    __tablename__ = "tasks"
    __table_args__ = (
        _one_of("kind", "comparison", "rating"),
        _one_of("purpose", "train", "gold", "evaluation"),
        _one_of("served_reason", "random", "uncertain", "gold", "evaluation"),
        CheckConstraint("(kind = 'comparison') = (second_generation_id IS NOT NULL)", name="comparison_has_two"),
        CheckConstraint("second_generation_id <> first_generation_id", name="generations_differ"),
        Index("ix_tasks_project_id_purpose", "project_id", "purpose", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = _key("projects.id", index=False)
    prompt_id: Mapped[int] = _key("prompts.id")
    kind: Mapped[str] = mapped_column(String(10))
    purpose: Mapped[str] = mapped_column(String(10), default="train")
    first_generation_id: Mapped[int] = _key("generations.id")
    second_generation_id: Mapped[int | None] = _key("generations.id")
    served_reason: Mapped[str] = mapped_column(String(10), default="random")
    reward_checkpoint_id: Mapped[int | None] = _key("checkpoints.id", index=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Seat(Base):
    """One place for one annotator on one task. `project_id` is repeated here so that claiming reads one index."""

    __tablename__ = "seats"
    __table_args__ = (
        UniqueConstraint("task_id", "number"),
        UniqueConstraint("task_id", "annotator_id"),
        _one_of("state", "free", "leased", "done"),
        CheckConstraint("(state = 'free') = (annotator_id IS NULL)", name="taken_seats_have_annotators"),
        Index("ix_seats_queue", "project_id", "state", "id"),
        Index("ix_seats_annotator_id", "annotator_id", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = _key("projects.id", index=False)
    task_id: Mapped[int] = _key("tasks.id", index=False)
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(10), default="free")
    annotator_id: Mapped[int | None] = _key("users.id", index=False)
    swapped: Mapped[bool] = mapped_column(default=False)  # True: the second generation stands left
    claimed_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]


class Skip(Base):
    """A task this person will not be asked again."""

    __tablename__ = "skips"
    __table_args__ = (UniqueConstraint("task_id", "annotator_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = _key("tasks.id", index=False)
    annotator_id: Mapped[int] = _key("users.id")
    reason: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Label(Base):
    """One verdict. Immutable: a correction is a new version that supersedes the one before."""

    __tablename__ = "labels"
    __table_args__ = (
        UniqueConstraint("task_id", "annotator_id", "version"),
        UniqueConstraint("client_id"),
        UniqueConstraint("supersedes_id"),
        _one_of("kind", "comparison", "rating"),
        _one_of("choice", "left", "right", "tie", "both_bad"),
        CheckConstraint("strength BETWEEN 1 AND 3", name="strength_1_to_3"),
        CheckConstraint("overall BETWEEN 1 AND 5", name="overall_1_to_5"),
        CheckConstraint("(kind = 'comparison') = (choice IS NOT NULL)", name="comparison_has_choice"),
        CheckConstraint("(kind = 'rating') = (overall IS NOT NULL)", name="rating_has_overall"),
        CheckConstraint("(version = 1) = (supersedes_id IS NULL)", name="later_versions_supersede"),
        Index("ix_labels_project_id_current", "project_id", "current", "id"),
        Index("ix_labels_annotator_id", "annotator_id", "id"),
        Index("ix_labels_annotator_id_created_at", "annotator_id", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = _key("projects.id", index=False)
    task_id: Mapped[int] = _key("tasks.id", index=False)
    seat_id: Mapped[int | None] = _key(
        "seats.id", index=False
    )  # none: the lease was lost and the seat went to another; kept as surplus
    annotator_id: Mapped[int] = _key("users.id", index=False)
    version: Mapped[int] = mapped_column(default=1)
    supersedes_id: Mapped[int | None] = _key("labels.id", index=False)
    current: Mapped[bool] = mapped_column(default=True)  # no later version; the one field that changes
    surplus: Mapped[bool] = mapped_column(default=False)  # arrived after its lease was given to someone else
    client_id: Mapped[str] = mapped_column(String(36))
    payload_hash: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(10))
    choice: Mapped[str | None] = mapped_column(String(10))
    strength: Mapped[int | None]
    overall: Mapped[int | None]
    criteria: Mapped[dict[str, Any]] = mapped_column(default=dict)
    flags: Mapped[dict[str, Any]] = mapped_column(default=dict)  # {"left": ["untrue"], "right": []} or {"response": [...]}
    rewrite: Mapped[dict[str, Any] | None]  # {"side": "left"|"right"|"response", "text": "..."}
    comment: Mapped[str] = mapped_column(default="")
    left_generation_id: Mapped[int] = _key("generations.id", index=False)  # as shown; a rating's only answer stands left
    right_generation_id: Mapped[int | None] = _key("generations.id", index=False)
    guideline_version: Mapped[int]
    interface_version: Mapped[str] = mapped_column(String(40))
    wall_ms: Mapped[int | None]
    active_ms: Mapped[int | None]
    served_reason: Mapped[str] = mapped_column(String(10))
    reward_checkpoint_id: Mapped[int | None] = _key("checkpoints.id", index=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


# Practice. Its tasks are no `tasks` and its verdicts no `labels`: nothing that learns, exports or measures can read them by
# mistake, and a text that an admin wrote has no checkpoint a generation could point to.


class PracticeTask(Base):
    """A question with a known answer, and why it is the answer. Sides stand as they were written: the explanation names them."""

    __tablename__ = "practice_tasks"
    __table_args__ = (
        _one_of("kind", "comparison", "rating"),
        _one_of("choice", "left", "right", "tie", "both_bad"),
        CheckConstraint("overall BETWEEN 1 AND 5", name="overall_1_to_5"),
        CheckConstraint("(kind = 'comparison') = (right_text IS NOT NULL)", name="comparison_has_two"),
        CheckConstraint("(kind = 'comparison') = (choice IS NOT NULL)", name="comparison_has_choice"),
        CheckConstraint("(kind = 'rating') = (overall IS NOT NULL)", name="rating_has_overall"),
        Index("ix_practice_tasks_project_id_archived_at", "project_id", "archived_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = _key("projects.id", index=False)
    kind: Mapped[str] = mapped_column(String(10))
    messages: Mapped[list[Any]]
    left_text: Mapped[str]  # a rating's only answer
    right_text: Mapped[str | None]
    choice: Mapped[str | None] = mapped_column(String(10))
    overall: Mapped[int | None]
    explanation: Mapped[str]  # markdown
    created_by: Mapped[int | None] = _key("users.id", index=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    archived_at: Mapped[datetime | None]


class PracticeVerdict(Base):
    """What somebody said to a practice task. An attempt asks each task once."""

    __tablename__ = "practice_verdicts"
    __table_args__ = (
        UniqueConstraint("annotator_id", "task_id", "attempt"),
        _one_of("choice", "left", "right", "tie", "both_bad"),
        CheckConstraint("overall BETWEEN 1 AND 5", name="overall_1_to_5"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = _key("projects.id")
    task_id: Mapped[int] = _key("practice_tasks.id")
    annotator_id: Mapped[int] = _key("users.id", index=False)
    attempt: Mapped[int]
    choice: Mapped[str | None] = mapped_column(String(10))
    overall: Mapped[int | None]
    is_right: Mapped[bool]  # by the answer known at that time
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
