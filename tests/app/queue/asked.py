"""What the worker does in slices of its own, done at once in a test's transaction."""

from __future__ import annotations

import random

from sqlalchemy.orm import Session

from app.models import Project, Run
from app.queue import make_tasks
from app.runs import refill


def ask(session: Session, project: Project, draw: random.Random | None = None) -> int:
    """Make tasks of every answer there is; how many."""
    return make_tasks.store(session, project, make_tasks.plan(session, project, draw))


def queue_refill(session: Session, project: Project) -> Run | None:
    """Queue what a queue that is low needs; the run of the policy in force."""
    planned = refill.plan_refill(session, project)
    return None if planned is None else refill.queue_refill(session, project, planned)
