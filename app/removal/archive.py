"""Putting a project away, and bringing it back: in between nobody is asked, nothing is computed, and everything stays."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Conflict
from app.language.languages import _
from app.models import Membership, Project, Run, utc_now
from app.rounds import service
from app.runs.runs import LIVE


def archive(session: Session, project: Project, by: int | None) -> None:
    """Raises Conflict when it is put away already."""
    if hold(session, project).archived_at is not None:
        raise Conflict(_("This project is archived already."))
    cancel_runs(session, project, by)
    project.archived_at = utc_now()
    record(session, by, "project.archived", project.slug, None, project.id)
    session.flush()


def restore(session: Session, project: Project, by: int | None) -> None:
    """Raises Conflict when it is not put away."""
    if hold(session, project).archived_at is None:
        raise Conflict(_("This project is not archived."))
    project.archived_at = None
    record(session, by, "project.restored", project.slug, None, project.id)
    session.flush()


def archived_projects(session: Session, user_id: int | None, limit: int = 200) -> list[Project]:
    """Those this person may bring back, the last one put away first; with none, every one."""
    query = select(Project).where(Project.archived_at.is_not(None), Project.deleted_at.is_(None))
    if user_id is not None:
        admin = select(Membership.project_id).where(Membership.user_id == user_id, Membership.role == "admin")
        query = query.where(Project.id.in_(admin))
    return list(session.scalars(query.order_by(Project.archived_at.desc(), Project.id).limit(limit)))


def cancel_runs(session: Session, project: Project, by: int | None) -> None:
    """Stop what waits and what works, and with it the round that computes: a run that works takes seconds to end."""
    live = select(Run).where(Run.project_id == project.id, Run.state.in_(LIVE), Run.cancel_requested_at.is_(None))
    for run in session.scalars(live.order_by(Run.id)).all():
        if run.state in LIVE and run.cancel_requested_at is None:  # its round may have ended it meanwhile
            service.cancel_run(session, run, by)
