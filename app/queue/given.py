"""Tasks that somebody asks for: comparisons, ratings and rankings of answers that they name."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Invalid
from app.language.languages import _
from app.models import Generation, Project, Prompt
from app.queue.new_tasks import insert_tasks

Asked = tuple[int, ...]  # generations: one is rated, two are compared, more are ranked


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
    draw = random.SystemRandom()
    questions = [draw.sample(some, len(some)) for some in draw.sample(list(asked), len(asked))]
    ids = insert_tasks(session, project, [(answers[some[0]][0], some) for some in questions])
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
