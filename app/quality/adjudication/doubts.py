"""Verdicts that a reviewer sent back, as their person sees them: to be corrected on the desk, or answered here."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.errors import Conflict, Invalid, NotFound
from app.labels import disputed
from app.labels.record import one_at_a_time
from app.language.languages import _
from app.models import Doubt, Label, Prompt, Task, utc_now


@dataclass(frozen=True, slots=True)
class Back:
    doubt: Doubt
    label: Label
    messages: list[dict[str, str]]


def sent_back(session: Session, project_id: int, annotator_id: int) -> list[Back]:
    """What waits for this person, the oldest first. Who sent it, it does not tell."""
    query = (
        select(Doubt, Label, Prompt.messages)
        .join(Label, Label.id == Doubt.label_id)
        .join(Task, Task.id == Label.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(Doubt.project_id == project_id, Doubt.annotator_id == annotator_id, Doubt.closed_at.is_(None))
        .order_by(Doubt.id)
    )
    return [Back(*row) for row in session.execute(query)]


def answer(session: Session, project_id: int, doubt_id: int, annotator_id: int, text: str) -> None:
    """They keep their verdict and say why; a reviewer looks again. Raises NotFound, Invalid, and Conflict once it is closed."""
    mine = (Doubt.id == doubt_id, Doubt.project_id == project_id, Doubt.annotator_id == annotator_id)
    doubt = session.scalar(select(Doubt).where(*mine))
    if doubt is None:
        raise NotFound(_("Nothing of that number was sent back to you."))
    if not text.strip():
        raise Invalid(_("Your answer is empty. Nothing was saved."), {"answer": _("Write a sentence or two.")})
    task_id = session.get_one(Label, doubt.label_id).task_id
    one_at_a_time(session.connection(), task_id)
    session.refresh(doubt)
    if doubt.closed_at is not None:
        raise Conflict(_("This is answered or settled already. Nothing was changed."))
    doubt.answer, doubt.closed_at = text.strip(), utc_now()
    record(session, annotator_id, "verdict.answered", f"task {task_id}", {}, project_id)
    session.flush()
    disputed.follow(session.connection(), task_id, utc_now())
    session.expire_all()
