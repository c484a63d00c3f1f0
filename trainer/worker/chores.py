"""What a worker looks after beside its run: rounds that are due, queues that run low, and what an earlier look missed.

Every worker does so. Two of them may find the same at the same moment; what happens once is decided by the database.
"""

from __future__ import annotations

import sys

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.database.engine import read_session, write_session
from app.errors import Refusal
from app.models import Project
from app.queue import asking
from app.rounds.promotion import ask_first
from app.rounds.service import advance_round, start_round, undone_rounds
from app.rounds.triggers import NextTrigger, next_trigger
from app.runs.refill import Refill, plan_refill, queue_refill, refill_prompts
from trainer.worker.failures import living_on

ASKING_S = 5.0  # of a look; a worker that is silent for longer than half a minute would lose its run


def look_after_projects(engine: Engine) -> None:
    with read_session(engine) as session:
        project_ids = session.scalars(select(Project.id).where(Project.archived_at.is_(None)).order_by(Project.id)).all()
    for project_id in project_ids:
        with living_on(f"a chore of project {project_id}"):
            _look_after(engine, project_id)


def ask_what_is_due(engine: Engine) -> None:
    """Make the tasks that a promotion or the end of a sampling left to be made."""
    with read_session(engine) as session:
        found = asking.due(session)
    for project_id, first in found:
        with living_on(f"asking about answers of project {project_id}"):
            if first:
                ask_first(engine, project_id)
            asking.ask(engine, project_id, budget_s=ASKING_S)


def _look_after(engine: Engine, project_id: int) -> None:
    """Go on with what was left undone, start the round that is due and refill the queue that runs low.

    What is wanted is found while others write; whether somebody was faster, whoever does it asks again.
    """
    try:
        with read_session(engine) as session:
            low = bool(refill_prompts(session, session.get_one(Project, project_id)))
        if low:
            asking.ask(engine, project_id, budget_s=ASKING_S)  # about answers that are there, before more are written
        with read_session(engine) as session:
            project = session.get_one(Project, project_id)
            undone, refill, coming = (
                undone_rounds(session, project_id),
                plan_refill(session, project),
                next_trigger(session, project),
            )
        if undone or refill or coming.due:
            with write_session(engine) as session:
                _serve(session, session.get_one(Project, project_id), refill, coming)
    except Refusal as refusal:  # somebody was faster, or a setting cannot be used: the pages say so too
        print(f"Project {project_id}: {refusal.detail}", file=sys.stderr)


def _serve(session: Session, project: Project, refill: Refill | None, coming: NextTrigger) -> None:
    for round_ in undone_rounds(session, project.id):
        advance_round(session, round_)
    if refill is not None:
        queue_refill(session, project, refill)
    if coming.due is not None:
        start_round(session, project, coming.due, None, usable=coming.usable)
