"""Announcing: what happened to a project, written in the transaction that does it, with a copy for each address in the outbox."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Announcement, Delivery, Project, Round, Webhook
from trainer.contract.messages import Message

Event = Literal[
    "round.decided",
    "round.waits",
    "round.failed",
    "round.refused",
    "policy.promoted",
    "alarm",
    "rounds.paused",
    "rounds.resumed",
    "budget.reached",
    "test",
]
LATEST: Final = 5
IN_FORCE: Final = select(Webhook.id).where(Webhook.removed_at.is_(None)).order_by(Webhook.id)


def announce(
    session: Session,
    project: Project | None,
    event: Event,
    message: Message,
    round_: Round | None = None,
    data: Mapping[str, Any] | None = None,
) -> Announcement:
    """Neither is stored without the other: what happened, and that every address in force is to be told."""
    told = Announcement(
        name=f"evt_{uuid.uuid4().hex}",
        project_id=project.id if project else None,
        round_id=round_.id if round_ else None,
        event=event,
        message=message,
        data={
            **({"project": {"id": project.id, "slug": project.slug}} if project else {}),
            **({"round": {"id": round_.id, "number": round_.number}} if round_ else {}),
            **(data or {}),
        },
    )
    session.add(told)
    session.flush()
    if event != "test":
        in_force = session.scalars(IN_FORCE.with_for_update(read=True)).all()  # whoever removes one finds what waits for it
        session.add_all(Delivery(webhook_id=webhook_id, announcement_id=told.id) for webhook_id in in_force)
        session.flush()
    return told


def latest(session: Session, project_id: int, limit: int = LATEST, *, before: int | None = None) -> list[Announcement]:
    """The newest first; `before` is the id the page before ended with."""
    mine = select(Announcement).where(Announcement.project_id == project_id)
    if before is not None:
        mine = mine.where(Announcement.id < before)
    return list(session.scalars(mine.order_by(Announcement.id.desc()).limit(limit)))
