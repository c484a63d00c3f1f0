"""Withdrawing a person's labels from training, in one step: they stay, leave the next data set, and can come back.

It is no withdrawal of a verdict (`app/labels/withdraw.py`), which is its author's: nothing of the labels changes.
"""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Conflict, Invalid, NotFound
from app.language.languages import _
from app.models import Exclusion, Label, Project, User


def exclude(session: Session, project: Project, user_id: int, reason: str, by: int) -> Exclusion:
    """From now on no run learns from their labels, those to come too; the audit trail says why.

    Raises Invalid without a reason, NotFound, and Conflict where it is so already.
    """
    if not reason.strip():
        raise Invalid(_("Say why their labels are to train nothing."), {"reason": _("Write a sentence or two.")})
    hold(session, project)
    if session.scalar(select(Label.id).where(Label.annotator_id == user_id, Label.project_id + 0 == project.id).limit(1)) is None:
        raise NotFound(_("This person has judged nothing here yet."))
    if _of(session, project.id, user_id) is not None:
        raise Conflict(_("Their labels are withdrawn from training already."))
    found = Exclusion(project_id=project.id, user_id=user_id, reason=reason.strip(), created_by=by)
    session.add(found)
    name = session.get_one(User, user_id).name
    record(session, by, "labels.excluded", name, {"reason": found.reason}, project.id)
    session.flush()
    return found


def include(session: Session, project: Project, user_id: int, by: int) -> None:
    """Their labels train again. Raises Conflict where they do."""
    hold(session, project)
    if _of(session, project.id, user_id) is None:
        raise Conflict(_("Their labels train already."))
    session.execute(delete(Exclusion).where(Exclusion.project_id == project.id, Exclusion.user_id == user_id))
    record(session, by, "labels.included", session.get_one(User, user_id).name, {}, project.id)
    session.flush()


def _of(session: Session, project_id: int, user_id: int) -> Exclusion | None:
    return session.scalar(select(Exclusion).where(Exclusion.project_id == project_id, Exclusion.user_id == user_id))
