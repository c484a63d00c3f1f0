"""Tasks that somebody asks for: comparisons and ratings of answers that they name."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Invalid
from app.language.languages import _
from app.models import NEXT_PLACE, Generation, Project, Prompt, Seat, Task, utc_now

Pair = tuple[int, int | None]  # of generations; none: a rating of the first


def ask_about(session: Session, project: Project, pairs: Sequence[Pair], by: int | None) -> list[int]:
    """Make tasks of these, behind all that waits, in random order and with the answers in random order; their ids.

    Labels of them train where their prompt is of the train split. Raises Invalid, naming what cannot be asked about.
    """
    hold(session, project)
    named = {one for pair in pairs for one in pair if one is not None}
    rows = session.execute(
        select(Generation.id, Generation.prompt_id, Generation.text)
        .join(Prompt, Prompt.id == Generation.prompt_id)
        .where(Generation.id.in_(named), Prompt.project_id == project.id, Prompt.archived_at.is_(None))
    )
    answers = {generation_id: (prompt_id, text) for generation_id, prompt_id, text in rows}
    problems = {f"items.{place}": why for place, pair in enumerate(pairs) if (why := _wrong(pair, answers))}
    if problems:
        raise Invalid(_("Some of these cannot be asked about. No task was made."), problems)
    draw, now = random.SystemRandom(), utc_now()
    rows_of_tasks = []
    for first, second in draw.sample(list(pairs), len(pairs)):
        if second is not None and draw.random() < 0.5:
            first, second = second, first
        rows_of_tasks.append(
            {
                "project_id": project.id,
                "prompt_id": answers[first][0],
                "kind": "rating" if second is None else "comparison",
                "first_generation_id": first,
                "second_generation_id": second,
                "created_at": now,
            }
        )
    ids = list(session.scalars(insert(Task).returning(Task.id, sort_by_parameter_order=True), rows_of_tasks))
    seats = [
        {"project_id": project.id, "task_id": task_id, "number": number}
        for task_id in ids
        for number in range(1, project.overlap + 1)
    ]
    session.connection().execute(insert(Seat).values(place=NEXT_PLACE), seats)
    record(session, by, "tasks.made", f"{len(ids)} tasks", {"tasks": len(ids)}, project.id)
    session.flush()
    return ids


def _wrong(pair: Pair, answers: dict[int, tuple[int, str]]) -> str:
    first, second = pair
    if first not in answers or (second is not None and second not in answers):
        return _("There is no such answer in this project, or its prompt was put away.")
    if second is None:
        return ""
    (prompt, text), (other_prompt, other_text) = answers[first], answers[second]
    if prompt != other_prompt:
        return _("Two answers to one prompt are compared.")
    return _("The two answers are the same.") if text == other_text else ""
