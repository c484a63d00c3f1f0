"""Asking what is due: the worker makes tasks of answers nobody was asked about, in slices, so that no verdict waits for it.

Whatever makes questions possible (a promotion, the end of a sampling) notes on the project that they are due, in the transaction
that does it, and the next look of any worker finds that. Of two that look at once, the second leaves out what the first asked.
"""

from __future__ import annotations

import random
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Engine, delete, exists, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.database.engine import read_session, write_session
from app.database.slices import Slices
from app.database.taking_turns import hold
from app.models import Generation, Gold, Label, Project, Seat, Skip, Task, drawn, utc_now
from app.queue import make_tasks

AHEAD: Final = 2**40  # from one promotion's places to the next one's; no seat has an id so large


@dataclass(slots=True)
class Plan:
    """What was drawn for a project, and how far it is stored."""

    wanted: tuple[datetime | None, int, int | None, bool]  # what it answers: once that differs, it is drawn anew
    questions: list[make_tasks.Question]
    reached: int = 0  # questions that were looked at
    made: int = 0  # tasks; fewer where somebody else asked meanwhile


def note_due(session: Session, project_id: int) -> None:
    """There may be answers to ask about."""
    session.execute(update(Project).where(Project.id == project_id).values(questions_due_at=utc_now()))


def note_due_first(session: Session, project: Project) -> None:
    """There may be answers to ask about, before all that waits: its order stays, and nothing of it is written anew."""
    places = [project.questions_place]
    for state in ("free", "leased"):  # two looks at an index's beginning
        mine = select(Seat.place).where(Seat.project_id == project.id, Seat.state == state)
        places += session.scalars(mine.order_by(Seat.place).limit(1))
    project.questions_place = (min(0, *places) // AHEAD - 1) * AHEAD
    project.questions_due_at = utc_now()
    session.flush()


def due(session: Session) -> list[tuple[int, bool]]:
    """The projects where something is to be asked, and whether that comes before all that waits."""
    wanted = select(Project.id, Project.questions_place < 0)
    wanted = wanted.where(Project.questions_due_at.is_not(None), Project.archived_at.is_(None))
    return [(project_id, first) for project_id, first in session.execute(wanted.order_by(Project.id))]


def ask(
    engine: Engine,
    project_id: int,
    *,
    budget_s: float,
    draw: random.Random | None = None,
    unfinished: MutableMapping[int, Plan] | None = None,
) -> bool:
    """Make the tasks that are due, for about so long, one slice at least; False where the next look is to go on.

    Everything is drawn beforehand, while others write, which takes as long as it takes. Each slice leaves out what somebody else
    asked meanwhile. A plan that is not finished is kept in `unfinished`, by project, for the next look.
    """
    unfinished = {} if unfinished is None else unfinished
    with read_session(engine) as session:
        project = session.get_one(Project, project_id)
        since, place, policy_id = project.questions_due_at, project.questions_place, project.policy_id
        wanted = (since, place, policy_id, make_tasks.previous_is_answering(session, project))
        plan = unfinished.pop(project_id, None)
        if plan is None or plan.wanted != wanted:
            plan = Plan(wanted, make_tasks.plan(session, project, draw))
    end = time.monotonic() + budget_s
    slices = Slices(engine)
    for some in slices.of(plan.questions[plan.reached :]):
        with slices.write() as session:
            project = hold(session, session.get_one(Project, project_id))
            if (project.questions_place, project.policy_id) != (place, policy_id) or project.archived_at is not None:
                return False  # another policy was promoted meanwhile, or the project archived: what was drawn is not what is due
            made = make_tasks.store(session, project, some)
        plan.reached += len(some)
        plan.made += made
        if time.monotonic() > end:
            break
    if plan.reached < len(plan.questions):
        if since is not None:  # else nothing would tell a later look that it is no longer true
            unfinished[project_id] = plan
        return False
    if plan.made < len(plan.questions):
        return False
    with write_session(engine) as session:  # unless more became possible meanwhile
        done = update(Project).where(Project.id == project_id, Project.questions_due_at == since)
        session.execute(done.values(questions_due_at=None, questions_place=0))
    return True


def take_apart(engine: Engine, project_id: int) -> None:
    """Free the answers of the policy before from tasks nobody has met, where the new one has answered in the same way: they meet
    its answers.
    """
    with read_session(engine) as session:
        project = session.get_one(Project, project_id)
        if project.previous_policy_id is None or project.policy_id is None:
            return
        answered = make_tasks.unasked_answers(session, project.policy_id)
        second = aliased(Generation)
        waiting = (
            select(Task.id, Task.prompt_id, Generation.settings)
            .join(Generation, Generation.id == Task.first_generation_id)
            .outerjoin(second, second.id == Task.second_generation_id)
            .join(Seat, Seat.task_id == Task.id)
            .where(Seat.project_id == project_id, Seat.state == "free", Seat.number == 1, Task.purpose == "train")
            .where(Task.kind != "ranking")  # it may be that somebody asked for just these answers
            .where(Generation.checkpoint_id == project.previous_policy_id)
            .where(or_(second.id.is_(None), second.checkpoint_id != project.policy_id))  # those have met already
            .where(*unmet())
            .order_by(Task.id)
        )
        ids = [task_id for task_id, prompt_id, settings in session.execute(waiting) if (prompt_id, drawn(settings)) in answered]
    slices = Slices(engine)
    for some in slices.of(ids):
        with slices.write() as session:
            # Kept first: whoever claims meanwhile passes them over, and whoever was faster is seen here.
            session.execute(select(Seat.id).where(Seat.task_id.in_(some)).order_by(Seat.id).with_for_update()).all()
            untouched = session.scalars(select(Task.id).where(Task.id.in_(some), *unmet())).all()
            session.execute(delete(Seat).where(Seat.task_id.in_(untouched)))
            session.execute(delete(Task).where(Task.id.in_(untouched)))


def unmet() -> tuple[ColumnElement[bool], ...]:
    """Nobody holds a seat of the task, has answered it or passed it over, and no known answer comes from it."""
    taken = aliased(Seat)
    return (
        ~exists().where(taken.task_id == Task.id, taken.state != "free"),
        ~exists().where(Label.task_id == Task.id),
        ~exists().where(Skip.task_id == Task.id),
        ~exists().where(Gold.source_task_id == Task.id),
    )
