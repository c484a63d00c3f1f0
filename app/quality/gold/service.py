"""Known answers: questions asked silently among real tasks, written by somebody or taken from tasks on which all agreed.

Practice is another thing (`app/practice`): it explains, and comes before work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Row, delete, func, select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Conflict, Invalid, NotFound
from app.labels.disputed import said
from app.language.languages import _
from app.models import Check, Generation, Gold, Label, Project, Prompt, Seat, Task, utc_now
from app.runs.usable_labels import not_excluded

UNANIMOUS: Final = 3  # verdicts at least, all alike
LOOKED_AT: Final = 50_000  # ids of labels, the newest
MOST_FOUND: Final = 50  # unanimous tasks that a page shows
CHOICES: Final = ("first", "second", "tie", "both_bad")


@dataclass(frozen=True, slots=True)
class Known:
    """A known answer, and how often it was asked and answered right."""

    gold: Gold
    prompt: Prompt
    asked: int


def known_answers(session: Session, project_id: int) -> list[Known]:
    """Those in use first, then the retired, each the newest first."""
    asked = select(func.count()).select_from(Check).where(Check.gold_id == Gold.id).scalar_subquery()
    rows = session.execute(
        select(Gold, Prompt, asked)
        .join(Prompt, Prompt.id == Gold.prompt_id)
        .where(Gold.project_id == project_id)
        .order_by(Gold.retired_at.is_not(None), Gold.id.desc())
    )
    return [Known(gold, prompt, count) for gold, prompt, count in rows]


@dataclass(frozen=True, slots=True)
class Asked:
    """A task of which somebody is about to say what is right."""

    task: Task
    prompt: Prompt
    answers: list[str]  # the first, and the second of a comparison


def asked(session: Session, project_id: int, task_id: int) -> Asked:
    """Raises NotFound."""
    known = (Task.purpose == "train", Task.kind != "ranking")  # an order of several is right or wrong by degrees
    task = session.scalar(select(Task).where(Task.id == task_id, Task.project_id == project_id, *known))
    if task is None:
        raise NotFound(_("There is no such task in this project."))
    answers = [session.get_one(Generation, one).text for one in (task.first_generation_id, task.second_generation_id) if one]
    return Asked(task, session.get_one(Prompt, task.prompt_id), answers)


def unanimous(session: Session, project_id: int, task_id: int | None = None) -> list[Row[Task, Prompt, int]]:
    """Tasks on which at least UNANIMOUS people whose labels may train said one thing, and which are no known answer yet; with how
    many they were.

    Among the newest labels; all that are of `task_id`, where one is asked about.
    """
    last = select(func.max(Label.id)).where(Label.project_id == project_id).scalar_subquery()
    which = Label.id > last - LOOKED_AT if task_id is None else Label.task_id == task_id
    agreed = (
        select(Label.task_id, func.count().label("people"))
        .where(Label.project_id == project_id, Label.current, ~Label.surplus, which, not_excluded(project_id))
        .group_by(Label.task_id)
        .having(func.count() >= UNANIMOUS, func.count(said(Label).distinct()) == 1)
        .subquery()
    )
    query = (
        select(Task, Prompt, agreed.c.people)
        .join(agreed, agreed.c.task_id == Task.id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .outerjoin(Gold, Gold.source_task_id == Task.id)
        .where(Task.purpose == "train", ~Task.disputed, Prompt.archived_at.is_(None), Gold.id.is_(None))
        .order_by(agreed.c.people.desc(), Task.id.desc())
    )
    return list(session.execute(query.limit(MOST_FOUND)).all())


def promote(session: Session, project: Project, task_id: int, by: int) -> Gold:
    """What all said of a task becomes its known answer. Raises Conflict where they differ or it is one already."""
    hold(session, project)
    found = unanimous(session, project.id, task_id)
    if not found:
        raise Conflict(
            _("A known answer needs %(least)s people who all said the same, and a prompt that is in use.", least=UNANIMOUS)
        )
    task = found[0][0]
    counted = (Label.task_id == task_id, Label.current, ~Label.surplus, not_excluded(project.id))
    label = session.scalars(select(Label).where(*counted).limit(1)).one()
    better = {"left": label.left_generation_id, "right": label.right_generation_id}.get(label.choice or "")
    choice = label.choice
    if better is not None:
        choice = "first" if better == task.first_generation_id else "second"
    return _store(session, project, task, choice, label.overall, by)


def author(session: Session, project: Project, task_id: int, choice: str | None, overall: int | None, by: int) -> Gold:
    """Somebody says what is right about the answers of a task, whatever people said: `choice` of a comparison, else `overall`.

    Raises NotFound, Invalid, and Conflict where nobody has judged the task yet or it has a known answer.
    """
    hold(session, project)
    task = asked(session, project.id, task_id).task
    if task.kind == "comparison" and (choice not in CHOICES or overall is not None):
        raise Invalid(_("Say which answer is right."), {"choice": _("Choose one.")})
    if task.kind == "rating" and (overall not in range(1, 6) or choice is not None):
        raise Invalid(_("Say which answer is right."), {"overall": _("A number from 1 to 5.")})
    if session.scalar(select(Gold.id).where(Gold.source_task_id == task.id)) is not None:
        raise Conflict(_("This task has a known answer already."))
    if session.scalar(select(Label.id).where(Label.task_id == task.id, Label.current).limit(1)) is None:
        raise Conflict(
            _("Nobody has judged this task yet. Open the label of one that somebody has, and say there what is right.")
        )
    return _store(session, project, task, choice, overall, by)


def _store(session: Session, project: Project, task: Task, choice: str | None, overall: int | None, by: int) -> Gold:
    """From now on it is asked as a check alone; whoever holds the task at this moment may still answer it."""
    session.execute(delete(Seat).where(Seat.task_id == task.id, Seat.state == "free"))
    gold = Gold(
        project_id=project.id,
        prompt_id=task.prompt_id,
        first_generation_id=task.first_generation_id,
        second_generation_id=task.second_generation_id,
        choice=choice,
        overall=overall,
        source_task_id=task.id,
        created_by=by,
    )
    session.add(gold)
    session.flush()
    record(session, by, "gold.added", str(task.id), {}, project.id)
    return gold


def retire(session: Session, project: Project, gold_id: int, by: int) -> None:
    """It is asked no more. Raises NotFound."""
    gold = _of(session, project, gold_id)
    if gold.retired_at is None:
        gold.retired_at = utc_now()
        record(session, by, "gold.retired", str(gold.source_task_id or gold.id), {}, project.id)
        session.flush()


def use_again(session: Session, project: Project, gold_id: int, by: int) -> None:
    gold = _of(session, project, gold_id)
    if gold.retired_at is not None:
        gold.retired_at = None
        record(session, by, "gold.used_again", str(gold.source_task_id or gold.id), {}, project.id)
        session.flush()


def _of(session: Session, project: Project, gold_id: int) -> Gold:
    hold(session, project)
    gold = session.scalar(select(Gold).where(Gold.id == gold_id, Gold.project_id == project.id))
    if gold is None:
        raise NotFound(_("There is no such known answer in this project."))
    return gold
