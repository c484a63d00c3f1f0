"""Tasks that somebody asks for: comparisons, ratings and rankings of answers that they name."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Invalid
from app.language.languages import _
from app.models import NEXT_PLACE, Generation, Project, Prompt, RankedAnswer, Seat, Task, utc_now

Asked = tuple[int, ...]  # generations: one is rated, two are compared, more are ranked
KINDS: Final = {1: "rating", 2: "comparison"}


def ask_about(session: Session, project: Project, asked: Sequence[Asked], by: int | None) -> list[int]:
    """Make tasks of these, behind all that waits, in random order and with the answers in random order; their ids.

    Labels of them train where their prompt is of the train split. Raises Invalid, naming what cannot be asked about.
    """
    hold(session, project)
    named = {one for answers in asked for one in answers}
    rows = session.execute(
        select(Generation.id, Generation.prompt_id, Generation.text)
        .join(Prompt, Prompt.id == Generation.prompt_id)
        .where(Generation.id.in_(named), Prompt.project_id == project.id, Prompt.archived_at.is_(None))
    )
    answers = {generation_id: (prompt_id, text) for generation_id, prompt_id, text in rows}
    problems = {f"items.{place}": why for place, some in enumerate(asked) if (why := _wrong(some, answers))}
    if problems:
        raise Invalid(_("Some of these cannot be asked about. No task was made."), problems)
    draw, now = random.SystemRandom(), utc_now()
    questions = [draw.sample(some, len(some)) for some in draw.sample(list(asked), len(asked))]
    rows_of_tasks = [
        {
            "project_id": project.id,
            "prompt_id": answers[some[0]][0],
            "kind": KINDS.get(len(some), "ranking"),
            "first_generation_id": some[0],
            "second_generation_id": some[1] if len(some) == 2 else None,
            "created_at": now,
        }
        for some in questions
    ]
    ids = list(session.scalars(insert(Task).returning(Task.id, sort_by_parameter_order=True), rows_of_tasks))
    ranked = [
        {"task_id": task_id, "number": number, "generation_id": answer}
        for task_id, some in zip(ids, questions, strict=True)
        if len(some) > 2
        for number, answer in enumerate(some, start=1)
    ]
    if ranked:
        session.execute(insert(RankedAnswer), ranked)
    seats = [
        {"project_id": project.id, "task_id": task_id, "number": number}
        for task_id in ids
        for number in range(1, project.overlap + 1)
    ]
    session.connection().execute(insert(Seat).values(place=NEXT_PLACE), seats)
    record(session, by, "tasks.made", f"{len(ids)} tasks", {"tasks": len(ids)}, project.id)
    session.flush()
    return ids


def _wrong(some: Asked, answers: dict[int, tuple[int, str]]) -> str:
    if any(one not in answers for one in some):
        return _("There is no such answer in this project, or its prompt was put away.")
    if len({answers[one][0] for one in some}) > 1:
        return _("Two answers to one prompt are compared.") if len(some) == 2 else _("Answers to one prompt are ranked.")
    if len({answers[one][1] for one in some}) == len(some):
        return ""
    return _("The two answers are the same.") if len(some) == 2 else _("Two of these answers are the same.")
