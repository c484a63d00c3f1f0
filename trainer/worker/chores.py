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
from app.queue.make_tasks import make_tasks
from app.rounds.service import advance_round, start_round, undone_rounds
from app.rounds.triggers import due_trigger
from app.runs.refill import queue_refill, refill_prompts
from trainer.worker.failures import living_on


def look_after_projects(engine: Engine) -> None:
    with read_session(engine) as session:
        project_ids = session.scalars(select(Project.id).where(Project.archived_at.is_(None)).order_by(Project.id)).all()
    for project_id in project_ids:
        with living_on(f"a chore of project {project_id}"):
            _look_after(engine, project_id)


def _look_after(engine: Engine, project_id: int) -> None:
    """Go on with what was left undone, start the round that is due and refill the queue that runs low."""
    try:
        with read_session(engine) as session:
            project = session.get_one(Project, project_id)
            wanting = undone_rounds(session, project_id) or due_trigger(session, project) or refill_prompts(session, project)
        if wanting:
            with write_session(engine) as session:
                _serve(session, session.get_one(Project, project_id))
    except Refusal as refusal:  # somebody was faster, or a setting cannot be used: the pages say so too
        print(f"Project {project_id}: {refusal.detail}", file=sys.stderr)


def _serve(session: Session, project: Project) -> None:
    for round_ in undone_rounds(session, project.id):
        advance_round(session, round_)
    if refill_prompts(session, project):
        make_tasks(session, project)  # of answers that are there, before more are written
    queue_refill(session, project)
    if (trigger := due_trigger(session, project)) is not None:
        start_round(session, project, trigger, None)
