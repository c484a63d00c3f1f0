"""Pausing rounds that start by themselves, and letting them start again."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Conflict
from app.language.languages import _
from app.models import Project, utc_now
from app.webhooks.announcing import announce
from trainer.contract.messages import Message


def pause(session: Session, project: Project, by: int | None) -> None:
    """What computes or is judged goes on to its decision; no further round starts by itself. Raises Conflict where it is so."""
    hold(session, project)
    if project.paused_at is not None:
        raise Conflict(_("Rounds are paused already."))
    project.paused_at = utc_now()
    record(session, by, "rounds.paused", project.slug, project_id=project.id)
    announce(session, project, "rounds.paused", Message("announce_paused"), None, {"by": by})


def resume(session: Session, project: Project, by: int | None) -> None:
    """Raises Conflict where they are not paused."""
    hold(session, project)
    if project.paused_at is None:
        raise Conflict(_("Rounds are not paused."))
    project.paused_at = None
    record(session, by, "rounds.resumed", project.slug, project_id=project.id)
    announce(session, project, "rounds.resumed", Message("announce_resumed"), None, {"by": by})
