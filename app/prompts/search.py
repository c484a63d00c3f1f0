"""Searching a project's prompts: what a list shows, by what it is narrowed, and how many fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Engine, Text, cast, exists, func, select, update
from sqlalchemy.orm import Session

from app.database import audit, searching
from app.database.engine import read_session
from app.database.searching import Total, says
from app.database.slices import ASKED_AT_ONCE, Slices
from app.models import Checkpoint, Contender, Generation, Label, Prompt, Task, utc_now
from app.projects.service import hold_open
from app.prompts.service import Split
from app.prompts.twins.service import has_twin
from trainer.contract.messages import Message

Answered = Literal["", "answered", "unanswered", "labelled", "unlabelled"]
Near = Literal["", "twin", "leak"]  # nearly the same as another prompt in use, and in another split than that


@dataclass(frozen=True, slots=True)
class PromptFilter:
    """Which prompts a search shows; an empty field lets everything through."""

    text: str = ""
    split: Split | None = None
    archived: bool = False
    work: Answered = ""
    external_id: str = ""
    language: str = ""  # as it is written, or `-` for none
    tag: str = ""
    skill: str = ""
    near: Near = ""
    among: tuple[int, ...] | None = None  # ids, those of a cluster; None: whichever


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a prompt, and the name of what wrote it."""

    generation: Generation
    writer: Message


def find_prompts(
    session: Session, project_id: int, wanted: PromptFilter, *, before: int | None = None, limit: int = 50
) -> list[Prompt]:
    """The newest first; `before` is the id the page before ended with."""
    query = select(Prompt).where(*conditions(project_id, wanted))
    if before is not None:
        query = query.where(Prompt.id < before)
    return list(session.scalars(query.order_by(Prompt.id.desc()).limit(limit)))


def count_fitting(session: Session, project_id: int, wanted: PromptFilter) -> Total:
    return searching.count_fitting(session, Prompt, conditions(project_id, wanted))


def put_away(session: Session, project_id: int, ids: Sequence[int], by: int | None, *, back: bool = False) -> int:
    """Archive the prompts of these few ids, or use them again. How many changed. Raises Archived for the project itself."""
    hold_open(session, project_id)  # as who asks about them does, see `make_tasks.store`
    changed = _put_away(session, project_id, ids, back)
    if changed:
        _note_put_away(session, project_id, changed, by, back)
    session.flush()
    return changed


def put_many_away(
    engine: Engine, project_id: int, chosen: Sequence[int] | PromptFilter, by: int | None, *, back: bool = False
) -> int:
    """The same for many, or for all that fit a filter, in slices. What ends in between is gone on with by doing it again."""
    ids = _to_put_away(engine, project_id, chosen, back)
    slices, changed = Slices(engine), 0
    for some in slices.of(ids):
        with slices.write() as session:
            hold_open(session, project_id)
            if not changed:
                _note_put_away(session, project_id, len(ids), by, back)
            changed += _put_away(session, project_id, some, back)
    return changed


def _to_put_away(engine: Engine, project_id: int, chosen: Sequence[int] | PromptFilter, back: bool) -> list[int]:
    """Those of the chosen that are to change."""
    if isinstance(chosen, PromptFilter):
        narrowed = [conditions(project_id, chosen)]
    else:
        narrowed = [[Prompt.id.in_(chosen[at : at + ASKED_AT_ONCE])] for at in range(0, len(chosen), ASKED_AT_ONCE)]
    found: list[int] = []
    with read_session(engine) as session:
        for each in narrowed:
            those = select(Prompt.id).where(Prompt.project_id == project_id, *each, _to_change(back))
            found += session.scalars(those.order_by(Prompt.id))
    return found


def _put_away(session: Session, project_id: int, ids: Sequence[int], back: bool) -> int:
    these = update(Prompt).where(Prompt.project_id == project_id, Prompt.id.in_(ids), _to_change(back))
    return len(session.execute(these.values(archived_at=None if back else utc_now()).returning(Prompt.id)).all())


def _to_change(back: bool) -> ColumnElement[bool]:
    return Prompt.archived_at.is_not(None) if back else Prompt.archived_at.is_(None)


def _note_put_away(session: Session, project_id: int, prompts: int, by: int | None, back: bool) -> None:
    action = "prompts.restored" if back else "prompts.archived"
    audit.record(session, by, action, f"{prompts} prompts", {"prompts": prompts}, project_id)


def answers_to(session: Session, prompt_id: int, limit: int = 50) -> list[Answer]:
    """What models wrote to the prompt: the newest run first, its answers as they were drawn. The last to end are the longest."""
    newest_of_run = func.max(Generation.id).over(partition_by=func.coalesce(Generation.run_id, -Generation.id))
    rows = session.execute(
        select(Generation, Checkpoint.name, Contender.name)
        .join(Contender, Contender.id == Generation.contender_id)
        .outerjoin(Checkpoint, Checkpoint.id == Generation.checkpoint_id)
        .where(Generation.prompt_id == prompt_id)
        .order_by(newest_of_run.desc(), Generation.number)
        .limit(limit)
    )
    return [Answer(generation, policy or Message("written", text=name or "")) for generation, policy, name in rows]


def count_labels_about(session: Session, prompt_id: int) -> int:
    about = select(func.count()).select_from(Label).join(Task, Task.id == Label.task_id)
    return session.scalar(about.where(Task.prompt_id == prompt_id, Label.current)) or 0


def conditions(project_id: int, wanted: PromptFilter) -> list[Any]:
    found: list[Any] = [
        Prompt.project_id == project_id,
        Prompt.archived_at.is_not(None) if wanted.archived else Prompt.archived_at.is_(None),
    ]
    if wanted.split:
        found.append(Prompt.split == wanted.split)
    if wanted.text:
        found.append(says(Prompt.messages, wanted.text))
    if wanted.external_id:
        found.append(Prompt.external_id == wanted.external_id)
    if wanted.language:
        said = func.lower(Prompt.language) == wanted.language.lower()
        found.append(Prompt.language.is_(None) if wanted.language == "-" else said)
    found += [_lists(column, word) for column, word in ((Prompt.tags, wanted.tag), (Prompt.skills, wanted.skill)) if word]
    answered = exists().where(Generation.prompt_id == Prompt.id)
    labelled = exists().where(Task.prompt_id == Prompt.id, Label.task_id == Task.id, Label.current)
    if wanted.work:
        found.append({"answered": answered, "unanswered": ~answered, "labelled": labelled, "unlabelled": ~labelled}[wanted.work])
    if wanted.among is not None:
        found.append(Prompt.id.in_(wanted.among))
    if wanted.near:
        found.append(has_twin(leaking=wanted.near == "leak"))
    return found


def _lists(column: Any, word: str) -> ColumnElement[bool]:
    """Whether a list of words has this one among them; JSON writes it between quotation marks, and other scripts as escapes.

    Words are stored in small letters, with hyphens for spaces (`app.assignment.audiences`).
    """
    stored = "-".join(word.casefold().split())
    return cast(column, Text).contains(json.dumps(stored), autoescape=True)
