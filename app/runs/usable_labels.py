"""Which labels a run may learn from, and how many there are: verdicts for a reward model, rewrites for next-token training."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Select, case, func, select
from sqlalchemy.orm import Session

from app.models import Exclusion, Generation, Label, Prompt, Task
from trainer.contract.offline_config import BAD_RATING, GOOD_RATING, TOP_RATING


def usable_labels(project_id: int) -> Select[Label, Task, Prompt]:
    """Current verdicts of people who held their seat, on questions asked for training, about prompts of the train split, less
    those of people whose labels were withdrawn from training. Where a reviewer settled what people differ on, theirs alone.

    Gold, repeats and evaluation tasks measure people and models; holdout prompts measure the reward model. None may leak in here.
    """
    return (
        select(Label, Task, Prompt)
        .join(Task, Task.id == Label.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(*_usable(project_id))
    )


def _usable(project_id: int) -> tuple[ColumnElement[bool], ...]:
    """All of one index, `ix_labels_usable`, so that a million are counted without a look at any of them."""
    return *_may_train(project_id), not_excluded(project_id)


def _may_train(project_id: int) -> tuple[ColumnElement[bool], ...]:
    return (
        *(Label.project_id == project_id, Label.current.is_(True), Label.surplus.is_(False), Label.trains.is_(True)),
        Label.overruled.is_(False),
    )


def not_excluded(project_id: int) -> ColumnElement[bool]:
    """Of people whose labels may train."""
    return Label.annotator_id.not_in(select(Exclusion.user_id).where(Exclusion.project_id == project_id))


def usable_label_count(session: Session, project_id: int) -> int:
    """How many labels a reward run started now would learn from."""
    return session.scalar(select(func.count()).select_from(Label).where(*_usable(project_id))) or 0


def excluded_since(session: Session, project_id: int, since: datetime) -> list[int]:
    """Whose labels were withdrawn from training since then."""
    excluded = select(Exclusion.user_id).where(Exclusion.project_id == project_id, Exclusion.created_at > since)
    return list(session.scalars(excluded))


def usable_before(session: Session, project_id: int, user_ids: Sequence[int], since: datetime) -> int:
    """How many labels of these people, given before then, would train if they were not withdrawn."""
    theirs = (*_may_train(project_id), Label.annotator_id.in_(user_ids), Label.created_at <= since)
    return (session.scalar(select(func.count()).select_from(Label).where(*theirs)) or 0) if user_ids else 0


def usable_by_method(session: Session, project_id: int) -> dict[str, int]:
    """From how many of them each method of training on labels would learn, were it started now."""
    bad = func.coalesce(Label.ranking["all_bad"].as_boolean(), False)
    pairs = Label.choice.in_(("left", "right")) | Label.rewrite.is_not(None) | (Label.ranking.is_not(None) & ~bad)
    alone = (Label.choice == "both_bad") | bad | (Label.overall >= GOOD_RATING) | (Label.overall <= BAD_RATING)
    found = session.execute(
        select(func.count(case((pairs, 1))), func.count(case((pairs | alone, 1)))).where(*_usable(project_id))
    ).one()
    return {"dpo": found[0], "dpo_normalised": found[0], "kto": found[1]}


def usable_rewrites(project_id: int) -> Select[Label, Task, Prompt]:
    """The usable labels whose annotator wrote a better answer."""
    return usable_labels(project_id).where(Label.rewrite.is_not(None))


def usable_demonstrations(project_id: int, *, top_rated: bool) -> Select[Label, Task, Prompt, Generation]:
    """The rewrites, and with `top_rated` also the usable ratings of 5 whose answer has its end; with the answer that was shown
    left, or rated.
    """
    whole = (Label.overall == TOP_RATING) & (Generation.finish_reason != "length")
    wanted = Label.rewrite.is_not(None) | whole if top_rated else Label.rewrite.is_not(None)
    answer = Generation.id == Label.left_generation_id
    return usable_labels(project_id).add_columns(Generation).join(Generation, answer).where(wanted)


def has_usable_rewrite(session: Session, project_id: int) -> bool:
    """Whether somebody rewrote an answer."""
    return has_demonstration(session, project_id, top_rated=False)


def has_demonstration(session: Session, project_id: int, *, top_rated: bool) -> bool:
    found = usable_demonstrations(project_id, top_rated=top_rated).with_only_columns(Label.id).limit(1)
    return session.scalar(found) is not None


def usable_rewrite_count(session: Session, project_id: int) -> int:
    """How many demonstrations an sft run of the rewrites would learn from, were it started now."""
    rows = usable_rewrites(project_id).with_only_columns(Label.id).subquery()
    return session.scalar(select(func.count()).select_from(rows)) or 0
